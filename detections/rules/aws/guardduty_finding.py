from ingestd_values import named, number

LOWEST = 7.0
CRITICAL = 9.0


def rule(event):
    if event.deep_get("service", "archived") is True or _is_sample(event):
        return False
    return (number(event.get("severity")) or 0.0) >= LOWEST


def _is_sample(event):
    return named(event.get("title")).startswith("[SAMPLE]")


def title(event):
    return f"GuardDuty: {named(event.get('title') or event.get('type'))} in account {event.get('accountId')}"


def severity(event):
    return "CRITICAL" if (number(event.get("severity")) or 0.0) >= CRITICAL else "DEFAULT"


def dedup(event):
    return f"{named(event.get('id'))}:{severity(event)}"


def alert_context(event):
    fields = ("id", "type", "severity", "region", "accountId", "description", "resource")
    return {field: event.get(field) for field in fields}
