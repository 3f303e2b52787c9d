"""What several AWS rules ask of an event."""

GLOBAL_ADMIN_ROLE = "GlobalAdministrator"


def succeeded(event):
    """Whether the call that a CloudTrail event tells of went through."""
    return not event.get("errorCode") and not event.get("errorMessage")


def actor(event):
    """The most telling name of who made the call."""
    identity = event.get("userIdentity") or {}
    return identity.get("arn") or identity.get("userName") or identity.get("type") or "<unknown>"


def context(event, *fields):
    """The fields that an analyst looks at first, with those named."""
    chosen = ("eventSource", "eventName", "sourceIPAddress", "userAgent", "awsRegion", "recipientAccountId", *fields)
    return {"actor": actor(event), **{field: event.get(field) for field in chosen}}
