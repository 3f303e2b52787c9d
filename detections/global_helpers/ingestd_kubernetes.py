"""What several rules ask of an audit event of Kubernetes."""

from ingestd_values import named, number

REFUSED = 400


def refused(event):
    """Whether the call was answered by an error. An event from before the answer says nothing of it."""
    return (number(event.deep_get("responseStatus", "code")) or 0) >= REFUSED


def user(event):
    """Who called."""
    return named(event.deep_get("user", "username"))


def context(event, *fields):
    """What an analyst looks at first, with those fields of the event."""
    chosen = ("verb", "user", "sourceIPs", "userAgent", "objectRef", "responseStatus", *fields)
    return {field: event.get(field) for field in chosen}
