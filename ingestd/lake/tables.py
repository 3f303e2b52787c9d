"""The columns of the tables that are not a log type's: matches, errors, rejects."""

from __future__ import annotations

from typing import Any

from ingestd.model import Column, Match

ALERT_ID = "p_alert_id"
"""Column of `rule_matches` and `rule_errors` that the parent adds: only it knows the alert."""

SEVERITIES = ("p_rule_severity", "p_alert_severity")
"""Columns of the same tables that the parent sets to the alert's severity."""

_TEXT = Column(name="element", kind="string")


def _columns(**kinds: Any) -> tuple[Column, ...]:
    return tuple(
        Column(name=name, kind="array", children=(_TEXT,)) if kind == "strings" else Column(name=name, kind=kind)
        for name, kind in kinds.items()
    )


_OF_EVENT = {
    "p_row_id": "string",
    "p_log_type": "string",
    "p_event_time": "timestamp",
    "p_parse_time": "timestamp",
    "p_source_id": "string",
    "p_source_label": "string",
}

_OF_MATCH = {
    "p_rule_id": "string",
    "p_rule_tags": "strings",
    "p_rule_reports": "json",
    "p_rule_severity": "string",
    "p_rule_version": "string",
    "p_rule_commit": "string",
    "p_rule_author": "string",
    "p_alert_severity": "string",
    "p_alert_context": "string",
    "kind": "string",
    "title": "string",
    "dedup": "string",
    "description": "string",
    "reference": "string",
    "runbook": "string",
    "unique_value": "string",
    "resource_id": "string",
}

MATCH_COLUMNS = _columns(**_OF_EVENT, **_OF_MATCH, event="json")
"""`rule_matches`: the fields of the event that people filter by, those of the match, the event as JSON."""

ERROR_COLUMNS = _columns(**_OF_EVENT, **_OF_MATCH, p_rule_error="string", event="json")
"""`rule_errors`: the same and the traceback."""

REJECT_COLUMNS = _columns(
    **_OF_EVENT,
    p_source_file="json",
    identity="string",
    ordinal="bigint",
    stream_offset="bigint",
    reason="string",
    detail="string",
    payload="string",
    payload_truncated="boolean",
)
"""`rejects`: where a record lay, why it was refused, how it begins."""

_COPIED = tuple(name for name in _OF_EVENT if name not in {"p_row_id", "p_log_type", "p_event_time"})


def match_row(match: Match, event: dict[str, Any]) -> dict[str, Any]:
    """A row of `rule_matches` or `rule_errors`."""
    row: dict[str, Any] = {name: event.get(name) for name in _COPIED}
    row.update(
        p_row_id=match.row_id,
        p_log_type=match.log_type,
        p_event_time=match.event_time,
        p_rule_id=match.detection_id,
        p_rule_tags=list(match.tags),
        p_rule_reports=match.reports or None,
        p_rule_severity=match.severity,
        p_rule_version=match.version,
        p_rule_commit=match.commit or None,
        p_rule_author=match.author or None,
        p_alert_severity=match.severity,
        p_alert_context=match.context,
        kind=match.kind,
        title=match.title,
        dedup=match.dedup,
        description=match.description or None,
        reference=match.reference or None,
        runbook=match.runbook or None,
        unique_value=match.unique,
        resource_id=match.resource,
        p_rule_error=match.error,
        event=event,
    )
    return row
