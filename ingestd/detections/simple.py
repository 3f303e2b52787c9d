"""Simple detections: rules written in YAML, and the inline filters of any rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from reprlib import repr as brief
from typing import Any

from ingestd.detections import conditions
from ingestd.detections.conditions import ConditionError, Test
from ingestd.detections.immutable import Absent
from ingestd.detections.loading.spec import Detection
from ingestd.model import SEVERITIES

Function = Callable[[Any], Any]
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def compile_filters(expressions: Sequence[Any]) -> Test | None:
    """True for events that pass; None when there is nothing to check."""
    meaningful = [expression for expression in expressions if expression not in ({"All": []}, {"Any": []})]
    return conditions.compile_all(meaningful) if meaningful else None


def compile_detection(detection: Detection) -> tuple[Function, dict[str, Function]]:
    """The deciding function and the alert functions of a detection written in YAML; ConditionError if it is
    malformed."""
    body = detection.body
    if "Detection" not in body:
        raise ConditionError(f"{detection.id} has neither Filename nor Detection")
    decide = conditions.compile_all(body["Detection"])
    functions = {name: make(body[key]) for key, (name, make) in _FUNCTIONS.items() if key in body}
    return decide, functions


def mistakes(detection: Detection, *, has_code: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Everything that is malformed in a detection's filters and, unless code stands in for it, its body: where in
    the YAML, and what."""
    written = {
        "InlineFilters": detection.filters,
        **({} if has_code else {"Detection": detection.body.get("Detection")}),
    }
    for key, expressions in written.items():
        for index, expression in enumerate(expressions or ()):
            yield from _mistake((key, index), compile_filters, [expression])
    for key, (_, make) in _FUNCTIONS.items():
        if key in detection.body and not has_code:
            yield from _mistake((key,), make, detection.body[key])


def _mistake(
    path: tuple[str | int, ...], make: Callable[[Any], Any], written: Any
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    try:
        make(written)
    except ConditionError as error:
        yield path, str(error)


def _template(written: Any) -> Function:
    """A title in which `{key.path}` stands for a value of the event."""
    text = str(written)
    getters = {name: conditions.getter({"KeyPath": name.strip()}) for name in _PLACEHOLDER.findall(text)}

    def title(event: Any) -> str:
        def value(match: re.Match[str]) -> str:
            find = getters[match[1]]
            return conditions.as_text(find(event)) if find else ""

        return _PLACEHOLDER.sub(value, text)

    return title


def _group_by(keys: Any) -> Function:
    getters = [_getter(key, "GroupBy") for key in _list(keys, "GroupBy")]
    return lambda event: "".join(f"{conditions.as_text(find(event))}:" for find in getters).rstrip(":")


def _context(entries: Any) -> Function:
    getters = {}
    for entry in _list(entries, "AlertContext"):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("KeyName"), str):
            raise ConditionError("each entry of AlertContext needs KeyName and KeyValue")
        getters[entry["KeyName"]] = _getter(entry.get("KeyValue"), "KeyValue")

    def context(event: Any) -> dict[str, Any]:
        found = {name: find(event) for name, find in getters.items()}
        return {name: None if value is Absent else value for name, value in found.items()}

    return context


def _severities(entries: Any) -> Function:
    """The first change whose conditions hold decides."""
    changes = []
    for entry in _list(entries, "DynamicSeverities"):
        change = str(entry.get("ChangeTo", "")).upper() if isinstance(entry, Mapping) else ""
        if change not in SEVERITIES:
            raise ConditionError(f"ChangeTo must be one of {', '.join(SEVERITIES)}")
        changes.append((conditions.compile_all(_list(entry.get("Conditions"), "Conditions")), change))
    return lambda event: next((change for test, change in changes if test(event)), "DEFAULT")


_FUNCTIONS: dict[str, tuple[str, Callable[[Any], Function]]] = {
    "AlertTitle": ("title", _template),
    "GroupBy": ("dedup", _group_by),
    "AlertContext": ("alert_context", _context),
    "DynamicSeverities": ("severity", _severities),
}
"""Key of the YAML to the alert function that it stands for, and what makes it."""


def _getter(spec: Any, where: str) -> conditions.Getter:
    find = conditions.getter(spec) if isinstance(spec, Mapping) else None
    if find is None:
        raise ConditionError(f"{where} needs Key, DeepKey, KeyPath or Enrichment, not {brief(spec)}")
    return find


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConditionError(f"{where} must be a list")
    return value
