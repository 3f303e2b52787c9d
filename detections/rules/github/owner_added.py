from ingestd_values import named

ACTIONS = {"org.add_member", "org.update_member"}


def rule(event):
    if event.get("action") not in ACTIONS or event.get("permission") != "admin":
        return False
    return event.get("old_permission") != "admin"


def title(event):
    return f"{named(event.get('actor'))} made {named(event.get('user'))} an owner of {named(event.get('org'))}"


def dedup(event):
    return f"{named(event.get('org'))}:{named(event.get('user'))}"


def alert_context(event):
    return {field: event.get(field) for field in ("actor", "actor_ip", "org", "user", "permission", "old_permission")}
