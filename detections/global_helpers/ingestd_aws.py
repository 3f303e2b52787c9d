"""What several AWS rules ask of an event of CloudTrail."""

from collections.abc import Mapping

from ingestd_values import document, listed, mappings, named, texts

GLOBAL_ADMIN_ROLE = "GlobalAdministrator"
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Client.UnauthorizedOperation"})
NARROWING = frozenset({
    "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount",
    "aws:sourcearn", "aws:sourceip", "aws:sourceorgid", "aws:sourcevpc", "aws:sourcevpce", "aws:userid",
    "aws:vpcsourceip", "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
})  # fmt: skip
"""Keys of a condition that make `*` less than everybody. A shared word, such as an external id, is not among them."""


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
    """Whether AWS itself made the call: for itself, on somebody's behalf, or by a role that it made for that."""
    return (
        event.get("eventType") == "AwsServiceEvent"
        or event.deep_get("userIdentity", "type") == "AWSService"
        or bool(event.deep_get("userIdentity", "invokedBy"))
        or ":assumed-role/AWSServiceRoleFor" in event.deep_get("userIdentity", "arn", default="")
    )


def allowing(policy):
    """The statements of a policy, given as JSON text or as a mapping, that allow something."""
    return [one for one in mappings(document(policy).get("Statement")) if one.get("Effect") == "Allow"]


def principals(statement):
    """Whom a statement of a policy names: accounts, ARNs or `*`; services and identity providers not."""
    named_here = statement.get("Principal")
    return texts(named_here.get("AWS")) if isinstance(named_here, Mapping) else texts(named_here)


def for_everyone(statement):
    """Whether a statement is for anybody at all, without a condition that says who or from where."""
    if "*" not in principals(statement):
        return False
    keys = [str(key).lower() for test in document(statement.get("Condition")).values() for key in document(test)]
    return not any(key in NARROWING for key in keys)


def is_everything(statement):
    """Whether a statement allows every action on every resource."""
    actions, resources = listed(statement.get("Action")), listed(statement.get("Resource"))
    return ("*" in actions or "*:*" in actions) and "*" in resources


def account_of(name):
    """The account in an ARN, or the one that the name is; empty when there is none."""
    parts = name.split(":")
    found = parts[4] if len(parts) > 4 else name
    return found if found.isdigit() else ""
