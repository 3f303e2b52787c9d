from ingestd_gcp import actor, added, context, resource, succeeded
from ingestd_values import named

EVERYONE = {"allAuthenticatedUsers", "allUsers"}


def rule(event):
    if event.deep_get("protoPayload", "serviceData") is None or not succeeded(event):
        return False
    return bool(_opened(event))


def _opened(event):
    return [named(one.get("role")) for one in added(event) if named(one.get("member")) in EVERYONE]


def title(event):
    return f"{actor(event)} gave everyone {', '.join(_opened(event)[:3])} on {resource(event)}"


def dedup(event):
    return resource(event)


def alert_context(event):
    return {"roles": _opened(event), **context(event)}
