from ingestd_okta import actor, context, succeeded, target

EVENTS = {"user.mfa.factor.deactivate", "user.mfa.factor.reset_all"}


def rule(event):
    if event.get("eventType") not in EVENTS or not succeeded(event):
        return False
    return target(event, "User") != actor(event)


def title(event):
    return f"{actor(event)} removed second factors of {target(event, 'User')}"


def dedup(event):
    return target(event, "User")


def alert_context(event):
    return context(event)
