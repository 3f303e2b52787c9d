from ingestd_values import named

ACTIONS = {"repo.access", "repo.create"}


def rule(event):
    if event.get("action") not in ACTIONS or event.get("visibility") != "public":
        return False
    return event.get("action") == "repo.access" or event.get("previous_visibility") in ("internal", "private")


def title(event):
    return f"{named(event.get('actor'))} made the repository {named(event.get('repo'))} public"


def dedup(event):
    return named(event.get("repo"))


def alert_context(event):
    return {field: event.get(field) for field in ("actor", "actor_ip", "org", "repo", "previous_visibility")}
