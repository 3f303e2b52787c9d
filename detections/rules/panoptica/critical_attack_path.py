from ingestd_panoptica import context, finding, is_first, severity_of, subject
from ingestd_values import named


def rule(event):
    if event.get("detection_type") != "attack_path" or severity_of(event) != "CRITICAL":
        return False
    return event.get("resolved") is not True and is_first(event, "attack_path")


def title(event):
    category = named(event.get("risk_category"))
    return f"Critical attack path to {subject(event)} in {named(event.get('account_id'))}: {category}"


def dedup(event):
    return finding(event)


def alert_context(event):
    scenario = {field: event.get(field) for field in ("attack_scenario", "risk_params", "related_resources")}
    return {**context(event), **scenario}
