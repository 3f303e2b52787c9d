from ingestd_values import named

ACTIONS = {
    "protected_branch.destroy": "removed the protection of",
    "protected_branch.policy_override": "went past the protection of",
    "repository_ruleset.destroy": "removed a ruleset of",
}


def rule(event):
    return event.get("action") in ACTIONS


def title(event):
    return (
        f"{named(event.get('actor'))} {ACTIONS[event.get('action')]} {named(event.get('repo') or event.get('org'))}"
    )


def severity(event):
    return "LOW" if event.get("action") == "protected_branch.policy_override" else "DEFAULT"


def dedup(event):
    return f"{named(event.get('actor'))}:{named(event.get('repo'))}:{event.get('action')}"


def alert_context(event):
    return {
        field: event.get(field) for field in ("actor", "actor_ip", "org", "repo", "branch", "name", "ruleset_name")
    }
