"""What the Panoptica rules ask of a finding, and what they remember of findings from one export to the next.

Each scan exports every finding again, so a rule that only looked at the record would alert each time.
"""

from ingestd_values import listed, named, number
from panther_detection_helpers.caching import (
    get_string_set,
    increment_counter,
    put_string_set,
    reset_string_set,
)

SEVERITIES = {"information": "INFO", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "critical": "CRITICAL"}


def finding(event):
    """The identity of a finding, the same in every export: tenant and alert id."""
    return f"{named(event.get('tenant_id'))}:{named(event.get('alert_id'))}"


def severity_of(event):
    """Panoptica's severity in our words, whichever letters it is written in."""
    return SEVERITIES.get(named(event.get("severity")).lower(), "DEFAULT")


def is_first(event, what):
    """Whether this finding is met for the first time as `what`. It is forgotten 90 days after it was last met."""
    return increment_counter(f"ingestd.panoptica.{what}:{finding(event)}") == 1


def note_resolved(event):
    """Remember that, and when, a finding was resolved."""
    put_string_set(_resolved_key(event), [_moment(event)])


def came_back(event):
    """Whether an open finding was resolved before, asked once: the next export of it is nothing new."""
    resolved = get_string_set(_resolved_key(event))
    if not resolved or max(resolved) > _moment(event):
        return False  # never resolved; or an old export that is read late
    reset_string_set(_resolved_key(event))
    return True


def _resolved_key(event):
    return f"ingestd.panoptica.resolved:{finding(event)}"


def _moment(event):
    """When the finding was in this state, as text that sorts by time."""
    return named(event.get("detection_timestamp")).replace("T", " ").rstrip("Z")


def subject(event):
    """What is at risk."""
    return named(event.get("asset_id"))


def context(event):
    """What an analyst looks at first."""
    fields = (
        "alert_id", "provider", "account_id", "asset_id", "resource_type", "severity", "risk_category", "description",
        "first_seen_timestamp", "detection_timestamp", "labels",
    )  # fmt: skip
    return {
        **{field: event.get(field) for field in fields},
        "risk score": number(event.deep_get("risk_params", "risk_score")),
        "related resources": len(listed(event.get("related_resources"))),
    }
