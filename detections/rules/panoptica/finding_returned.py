from ingestd_panoptica import came_back, context, finding, note_resolved, severity_of, subject
from ingestd_values import named


def rule(event):
    if event.get("resolved") is True:
        note_resolved(event)
        return False
    return came_back(event)


def title(event):
    return f"Panoptica's finding {named(event.get('alert_id'))} on {subject(event)} is back after it was resolved"


def severity(event):
    return severity_of(event)


def dedup(event):
    return finding(event)


def alert_context(event):
    return context(event)
