from ingestd_gcp import actor, context, method, where

PERMISSION_DENIED = 7


def rule(event):
    if event.deep_get("protoPayload", "status", "code") != PERMISSION_DENIED:
        return False
    return actor(event) != "<unknown>"


def unique(event):
    return method(event)


def title(event):
    return f"{actor(event)} is refused one call after another in {where(event)}"


def dedup(event):
    return actor(event)


def alert_context(event):
    return context(event, "status", "authorizationInfo")
