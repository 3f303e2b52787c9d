"""What becomes of results of work by the clock: matches of correlation rules, and errors of turns that failed."""

from __future__ import annotations

from typing import Any

from ingestd.detections import returns
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.runnable import Runnable
from ingestd.model import Match


def runnables(detections: DetectionSet) -> dict[str, tuple[Runnable, ...]]:
    """What makes a match of a finding, by the id of the correlation rule."""
    functions = {"dedup": _values, "alert_context": lambda finding: finding}
    return {
        name: (Runnable(detections.detections[name], lambda _finding: True, dict(functions)),)
        for name in detections.timetable().correlations
    }


def _values(finding: dict[str, Any]) -> str:
    """Findings of the same values are one alert."""
    return ", ".join(sorted({str(value) for value in finding.get("values", {}).values()}))


def error(runnable: Runnable, event: dict[str, Any]) -> Match:
    """That a turn failed which the detection depends on."""
    said = event["error"] if isinstance(event["error"], dict) else {}
    name, text = str(said.get("type", "Error")), str(said.get("text", ""))
    title = f"{event['kind']} {event['name']}: {text}"
    return runnable.plain_error(
        event, event["p_log_type"], dedup=returns.limited(name), title=returns.limited(title), text=text
    )
