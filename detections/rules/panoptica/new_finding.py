from ingestd_panoptica import context, finding, is_first, severity_of, subject
from ingestd_values import named

SEVERITIES = {"CRITICAL", "HIGH"}


def rule(event):
    if event.get("detection_type") != "security_finding" or severity_of(event) not in SEVERITIES:
        return False
    return event.get("resolved") is not True and is_first(event, "security_finding")


def title(event):
    what = event.get("risk_category") or event.get("description")
    return f"Panoptica found a risk of {subject(event)} in {named(event.get('account_id'))}: {named(what)}"


def severity(event):
    return "HIGH" if severity_of(event) == "CRITICAL" else "DEFAULT"


def dedup(event):
    return finding(event)


def alert_context(event):
    return context(event)
