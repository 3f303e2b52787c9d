"""A folder of detections in the public format, and events like those that its tests hold."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from ingestd.detections import DetectionSet, Options

Event = dict[str, Any]

_UNIQUE = frozenset(
    {"eventid", "requestid", "insertid", "correlationid", "auditid", "uuid", "uniquequalifier", "transactionid"}
)
"""Lower-case keys under which no two real events carry the same text."""


def load(paths: tuple[str, ...]) -> DetectionSet:
    """Everything in the folders, every rule enabled, with the samples of its tests."""
    every = DetectionSet.load(Options(paths=paths, include_disabled=True))
    rules = tuple(name for name, found in every.detections.items() if found.kind == "rule")
    return DetectionSet.load(Options(paths=paths, enable=rules, keep_tests=True))


def busiest_log_types(detections: DetectionSet, count: int) -> list[str]:
    """The log types that most rules look at."""
    rules = Counter(name for item in detections.runnables.values() for name in item.detection.log_types)
    ranked = sorted(rules, key=lambda name: (-rules[name], name))
    return [name for name in ranked if name in detections.log_types][:count]


def samples(detections: DetectionSet, log_type: str) -> list[Event]:
    """The events in the tests of a log type's rules, those left out that only make sense with mocks."""
    found = []
    for runnable in detections.for_log_type(log_type):
        for test in runnable.detection.tests:
            event = test.get("Log")
            if not isinstance(event, dict) or test.get("Mocks"):
                continue
            if event.get("p_log_type", log_type) == log_type:
                found.append(event)
    return found


def events_like(found: list[Event], log_type: str, count: int) -> list[bytes]:
    """`count` events as JSON text: samples drawn at random, each with row id and request ids of its own."""
    draw = random.Random(f"events-{log_type}")
    return [orjson.dumps(_fresh(draw.choice(found), draw) | _standard(log_type, draw)) for _ in range(count)]


def _standard(log_type: str, draw: random.Random) -> Event:
    return {
        "p_log_type": log_type,
        "p_row_id": f"{draw.getrandbits(128):032x}",
        "p_event_time": "2026-07-01 12:00:00.000",
    }


def _fresh(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: _fresh_field(key, inner, draw) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fresh(inner, draw) for inner in value]
    return value


def _fresh_field(key: Any, value: Any, draw: random.Random) -> Any:
    if isinstance(value, str) and value and str(key).lower() in _UNIQUE:
        return str(uuid.UUID(int=draw.getrandbits(128), version=4))
    return _fresh(value, draw)


def write_copies(detections: DetectionSet, log_type: str, count: int, folder: Path) -> None:
    """Rules of a log type, copied into `folder` under new ids until there are `count`, the originals counted."""
    originals = detections.for_log_type(log_type)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count - len(originals)):
        original = originals[number % len(originals)]
        name = f"copy_{number:03d}"
        item = detections.items[original.id].data | {"RuleID": name, "Tests": [], "LogTypes": [log_type]}
        if original.detection.code is not None:
            item["Filename"] = f"{name}.py"
            (folder / f"{name}.py").write_bytes(Path(original.detection.code).read_bytes())
        (folder / f"{name}.yml").write_bytes(orjson.dumps(item))  # JSON is YAML
