from ingestd_okta import actor, context

EVENTS = {"user.mfa.okta_verify.deny_push", "user.mfa.okta_verify.deny_push_upgrade_needed"}


def rule(event):
    return event.get("eventType") in EVENTS


def title(event):
    return f"{actor(event)} keeps refusing to confirm sign-ins"


def dedup(event):
    return actor(event)


def alert_context(event):
    return context(event)
