from ingestd_okta import actor, context, succeeded, target

EVENTS = {
    "policy.lifecycle.deactivate": "deactivated",
    "policy.lifecycle.delete": "deleted",
    "policy.rule.deactivate": "deactivated a rule of",
    "policy.rule.delete": "deleted a rule of",
    "zone.deactivate": "deactivated",
    "zone.delete": "deleted",
}


def rule(event):
    return event.get("eventType") in EVENTS and succeeded(event)


def title(event):
    return f"{actor(event)} {EVENTS[event.get('eventType')]} {target(event)} in Okta"


def dedup(event):
    return f"{actor(event)}:{target(event)}"


def alert_context(event):
    return context(event)
