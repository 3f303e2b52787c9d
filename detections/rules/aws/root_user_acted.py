from ingestd_aws import account, context, is_service, succeeded
from ingestd_values import named


def rule(event):
    if event.deep_get("userIdentity", "type") != "Root" or event.get("eventType") != "AwsApiCall":
        return False
    return event.get("readOnly") is False and succeeded(event) and not is_service(event)


def title(event):
    return f"Root user of account {account(event)} called {named(event.get('eventName'))}"


def severity(event):
    return "CRITICAL" if event.get("eventName") == "CreateAccessKey" else "DEFAULT"


def dedup(event):
    return f"{account(event)}:{named(event.get('eventName'))}"


def alert_context(event):
    return context(event, "requestParameters")
