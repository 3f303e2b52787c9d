from ingestd_aws import account, actor, asked, context, is_service, succeeded
from ingestd_values import named

NAMES = {
    "CreateOpenIDConnectProvider": "url",
    "CreateSAMLProvider": "name",
    "CreateTrustAnchor": "name",
    "UpdateOpenIDConnectProviderThumbprint": "openIDConnectProviderArn",
    "UpdateSAMLProvider": "sAMLProviderArn",
}


def rule(event):
    return event.get("eventName") in NAMES and succeeded(event) and not is_service(event)


def _provider(event):
    return named(asked(event, NAMES[event.get("eventName")]))


def title(event):
    return f"{actor(event)} lets account {account(event)} trust identities of {_provider(event)}"


def severity(event):
    return "LOW" if "oidc.eks." in _provider(event) else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{_provider(event)}"


def alert_context(event):
    return context(event, "requestParameters")
