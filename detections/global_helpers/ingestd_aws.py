"""What several AWS rules ask of an event of CloudTrail."""

from collections.abc import Mapping

from ingestd_values import document, listed, mappings, named, texts

GLOBAL_ADMIN_ROLE = "GlobalAdministrator"
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Client.UnauthorizedOperation"})


def succeeded(event):
    """Whether the call went through."""
    return not event.get("errorCode") and not event.get("errorMessage")


def actor(event):
    """Who made the call, as short as it tells: `user/eve`, `assumed-role/developer/ada`, `root`, a service."""
    arn = event.deep_get("userIdentity", "arn")
    if isinstance(arn, str) and arn:
        return arn.rpartition(":")[2]
    for field in ("userName", "invokedBy", "principalId", "type"):
        if name := event.deep_get("userIdentity", field):
            return named(name)
    return "<unknown>"


def principal(event):
    """Whose permissions were used: the role of a session, whatever the session is called, or the user."""
    role = event.deep_get("userIdentity", "sessionContext", "sessionIssuer", "arn")
    return named(role or event.deep_get("userIdentity", "arn") or actor(event))


def account(event):
    """The account in which it happened."""
    return named(event.get("recipientAccountId") or event.deep_get("userIdentity", "accountId"))


def asked(event, *path):
    """A parameter of the call."""
    return event.deep_get("requestParameters", *path)


def context(event, *fields):
    """The fields that an analyst looks at first, with those named."""
    chosen = ("eventSource", "eventName", "sourceIPAddress", "userAgent", "awsRegion", "recipientAccountId", *fields)
    return {
        "actor": event.deep_get("userIdentity", "arn") or actor(event),
        **{name: event.get(name) for name in chosen},
    }


def is_service(event):
    """Whether AWS itself made the call, for its own purposes or on somebody's behalf."""
    return (
        event.get("eventType") == "AwsServiceEvent"
        or event.deep_get("userIdentity", "type") == "AWSService"
        or bool(event.deep_get("userIdentity", "invokedBy"))
    )


def allowing(policy):
    """The statements of a policy, given as JSON text or as a mapping, that allow something."""
    return [one for one in mappings(document(policy).get("Statement")) if one.get("Effect") == "Allow"]


def principals(statement):
    """Whom a statement of a policy names: accounts, ARNs or `*`; services and identity providers not."""
    named_here = statement.get("Principal")
    return texts(named_here.get("AWS")) if isinstance(named_here, Mapping) else texts(named_here)


def for_everyone(statement):
    """Whether a statement is for anybody at all, without a condition."""
    return "*" in principals(statement) and not statement.get("Condition")


def is_everything(statement):
    """Whether a statement allows every action on every resource."""
    actions, resources = listed(statement.get("Action")), listed(statement.get("Resource"))
    return ("*" in actions or "*:*" in actions) and "*" in resources


def account_of(name):
    """The account in an ARN, or the one that the name is; empty when there is none."""
    parts = name.split(":")
    found = parts[4] if len(parts) > 4 else name
    return found if found.isdigit() else ""
