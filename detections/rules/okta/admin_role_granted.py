from ingestd_okta import actor, context, succeeded, target
from ingestd_values import named

EVENTS = {"group.privilege.grant", "user.account.privilege.grant"}


def rule(event):
    return event.get("eventType") in EVENTS and succeeded(event)


def _privilege(event):
    return named(event.deep_get("debugContext", "debugData", "privilegeGranted"))


def title(event):
    return f"{actor(event)} made {target(event, 'User', 'UserGroup')} administrator in Okta: {_privilege(event)}"


def severity(event):
    return "HIGH" if "Super admin" in _privilege(event) else "DEFAULT"


def dedup(event):
    return f"{target(event, 'User', 'UserGroup')}:{_privilege(event)}"


def alert_context(event):
    return context(event)
