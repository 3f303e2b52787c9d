"""What correlation rules need of a match: the values of the fields by which they join it with others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from ingestd.detections.correlation.model import Correlation
from ingestd.model import Match

CONTEXT = "p_alert_context"
MOST_VALUES = 100
"""Of one field of one match."""
LONGEST_VALUE = 256
"""Longer ones are joined by their beginning and a digest."""


def fields_of(correlations: Iterable[Correlation]) -> dict[str, tuple[str, ...]]:
    """Detection id → the fields of its matches that correlation rules join by, perhaps none."""
    found: dict[str, set[str]] = {}
    for correlation in correlations:
        for detection_id in correlation.detection_ids:
            found.setdefault(detection_id, set())
        for detection_id, field in correlation.fields():
            found[detection_id].add(field)
    return {detection_id: tuple(sorted(fields)) for detection_id, fields in found.items()}


def with_joins(match: Match, fields: tuple[str, ...], event: Mapping[str, Any]) -> Match:
    """The match with the values of these fields, of its event and of its alert_context."""
    data: Mapping[str, Any] = event
    if any(field == CONTEXT or field.startswith(f"{CONTEXT}.") for field in fields):
        data = {**event, CONTEXT: orjson.loads(match.context)}
    return msgspec.structs.replace(match, joins={field: values(data, field) for field in fields})


def values(data: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """The values at a dotted path, as text; a list counts as each of its elements. Keys are looked up as written,
    then without regard to upper and lower case."""
    found: dict[str, None] = {}
    pending: list[tuple[Iterator[Any], str]] = [(iter((data,)), path)]  # an event may be nested as deep as it likes
    while pending and len(found) < MOST_VALUES:
        elements, way = pending[-1]
        value = next(elements, elements)
        if value is elements:
            pending.pop()
            continue
        value, left = _along(value, way)
        if isinstance(value, list | tuple):
            pending.append((iter(value), left))
        elif not left and value is not None and not isinstance(value, Mapping):
            found[_text(value)] = None
    return tuple(found)


def _along(value: Any, path: str) -> tuple[Any, str]:
    """What mappings lead to, and what is left of the path."""
    while path and isinstance(value, Mapping):
        key, path = (path, "") if path in value else (path.partition(".")[0], path.partition(".")[2])
        value = _get(value, key)
    return value, path


def _get(data: Mapping[str, Any], key: str) -> Any:
    if key in data:
        return data[key]
    lower = key.lower()
    return next((value for name, value in data.items() if str(name).lower() == lower), None)


def _text(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if len(text) <= LONGEST_VALUE:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[:LONGEST_VALUE]}…{digest}"
