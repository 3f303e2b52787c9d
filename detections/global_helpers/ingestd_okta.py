"""What several Okta rules ask of an event of the system log."""

from ingestd_values import mappings, named


def succeeded(event):
    """Whether it was carried out."""
    return event.deep_get("outcome", "result") == "SUCCESS"


def actor(event):
    """Who did it."""
    return named(event.deep_get("actor", "alternateId") or event.deep_get("actor", "displayName"))


def targets(event, *kinds):
    """Names of what it was done to; with kinds (`User`, `PolicyEntity`), of those alone."""
    found = [one for one in mappings(event.get("target")) if not kinds or one.get("type") in kinds]
    return [named(one.get("alternateId") if one.get("type") == "User" else one.get("displayName")) for one in found]


def target(event, *kinds):
    """The first of them."""
    return next(iter(targets(event, *kinds)), "<unknown>")


def context(event):
    """What an analyst looks at first."""
    return {
        "actor": actor(event),
        "address": event.deep_get("client", "ipAddress"),
        "user agent": event.deep_get("client", "userAgent", "rawUserAgent"),
        "event": event.get("eventType"),
        "outcome": event.get("outcome"),
        "targets": targets(event),
        "debug data": event.deep_get("debugContext", "debugData"),
    }
