"""Inferred schemas beside the hand-written ones: precision and recall per attribute, over logs of public detections.

A path is compared when both schemas declare it and some log has a value there. Indicators are compared by what they
do: the `p_any_` lists that the values of the path reach. What either side keeps as `json` is counted apart.

    python -m tests.schemas.infer.test_against_handwritten     prints the table and every disagreement
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from ingestd.schemas import Registry, spec
from ingestd.schemas.coerce import Misfit
from ingestd.schemas.infer import Inferer
from ingestd.schemas.infer.decide import Field
from ingestd.schemas.load import load_schemas
from ingestd.schemas.logtype import LogType
from tests.schemas import public_corpus

LEAST_LOGS = 20
LEAST = 0.9
_WHOLE_NUMBERS = ("int", "smallint", "bigint")


class Said(NamedTuple):
    """What a schema says of a path."""

    kind: str
    indicators: tuple[str, ...]
    is_event_time: bool


class Score:
    """Of one attribute: both agree, the inferred schema says it, the hand-written one does."""

    def __init__(self) -> None:
        self.agreed = self.inferred = self.written = 0

    @property
    def precision(self) -> float:
        """Share of what was inferred that is right."""
        return self.agreed / max(1, self.inferred)

    @property
    def recall(self) -> float:
        """Share of what was written by hand that was inferred."""
        return self.agreed / max(1, self.written)

    def add(self, inferred: set[Any], written: set[Any]) -> None:
        """Compare two sets."""
        self.agreed += len(inferred & written)
        self.inferred += len(inferred)
        self.written += len(written)

    def __str__(self) -> str:
        right = f"{self.agreed:4d}/{self.inferred:4d} {self.precision:6.1%}"
        return f"{right}  {self.agreed:4d}/{self.written:4d} {self.recall:6.1%}"


class Compared:
    """One log type."""

    def __init__(self, log_type: str, logs: int) -> None:
        self.log_type = log_type
        self.logs = logs
        self.types, self.indicators, self.event_time = Score(), Score(), Score()
        self.json = self.undeclared = 0
        self.disagreements: list[str] = []


def _written(fields: tuple[spec.Field, ...], path: str = "") -> Iterator[tuple[str, Said]]:
    for field in fields:
        yield from _value(field.value, f"{path}{field.source}")


def _value(value: spec.Value, path: str) -> Iterator[tuple[str, Said]]:
    yield path, Said(value.kind, value.indicators, value.is_event_time)
    if value.element is not None:
        yield from _value(value.element, path + "[]")
    yield from _written(value.fields, path + ".")


def _inferred(field: Field, path: str) -> Iterator[tuple[str, Said]]:
    attributes = field.attributes
    yield path, Said(field.type, tuple(attributes.get("indicators", ())), bool(attributes.get("isEventTime")))
    if field.element is not None:
        yield from _inferred(field.element, path + "[]")
    for inner in field.fields:
        yield from _inferred(inner, f"{path}.{inner.name}")


def _values(value: Any, path: str, found: dict[str, set[str]]) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _values(item, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        for item in value:
            _values(item, path + "[]", found)
    elif isinstance(value, str):
        found[path].add(value)


@lru_cache
def _collector(indicators: tuple[str, ...]) -> LogType:
    text = f"schema: A\nfields:\n  - {{name: v, type: string, indicators: [{', '.join(indicators)}]}}\n"
    return LogType(load_schemas(text, "collector")[0])


def _lists(said: Said, values: set[str]) -> set[str]:
    """Lists that the values reach."""
    reached: set[str] = set()
    if said.kind == "string" and said.indicators:
        for value in values:
            event = {"v": value}
            try:
                _collector(said.indicators).normalise(event, True)
            except Misfit:
                continue
            reached |= {name for name in event if name.startswith("p_any_")}
    return reached


def _kind(said: Said) -> str:
    return "whole number" if said.kind in _WHOLE_NUMBERS else said.kind


def compare(kind: LogType, logs: list[bytes]) -> Compared:
    """One log type: the schema inferred from its logs beside its own."""
    inferer = Inferer("Custom.Inferred")
    inferer.start("logs", logs[:LEAST_LOGS])
    values: dict[str, set[str]] = defaultdict(set)
    for ordinal, log in enumerate(logs):
        inferer.add(ordinal, log)
        _values(orjson.loads(log), "", values)
    inferred = dict(pair for field in inferer.finish().fields for pair in _inferred(field, field.name))
    written = dict(_written(kind.schema.fields))
    result = Compared(kind.name, len(logs))
    free = tuple(path + end for path, said in written.items() if said.kind == "json" for end in (".", "[]"))
    for path, said in inferred.items():
        other = written.get(path)
        if path.startswith(free):
            continue
        if other is None or "json" in (said.kind, other.kind):
            result.undeclared += other is None
            result.json += other is not None
            continue
        result.types.add({_kind(said)}, {_kind(other)})
        result.indicators.add(_lists(said, values[path]), _lists(other, values[path]))
        if _kind(said) != _kind(other):
            result.disagreements.append(f"{path}: type {said.kind}, by hand {other.kind}")
        if _lists(said, values[path]) != _lists(other, values[path]):
            ours, theirs = (", ".join(side.indicators) or "none" for side in (said, other))
            result.disagreements.append(f"{path}: indicators {ours}, by hand {theirs}")
    _event_time(result, inferred, written)
    return result


def _event_time(result: Compared, inferred: dict[str, Said], written: dict[str, Said]) -> None:
    """A hand-written schema may name several: the one inferred must be among them."""
    ours = {path for path, said in inferred.items() if said.is_event_time}
    theirs = {path for path, said in written.items() if said.is_event_time and path in inferred}
    if not theirs:
        return
    agreed = ours & theirs
    result.event_time.add({"it"} if agreed else ours, {"it"})
    if not agreed:
        result.disagreements.append(f"event time {', '.join(ours) or 'none'}, by hand {', '.join(theirs)}")


@lru_cache
def compared() -> list[Compared]:
    """Every log type with enough different logs."""
    registry = Registry.load([])
    logs: dict[str, dict[bytes, bytes]] = defaultdict(dict)
    for sample in public_corpus.samples():
        if sample.log_type in registry.names:
            data = orjson.dumps(sample.record, default=str)
            logs[sample.log_type][orjson.dumps(sample.record, default=str, option=orjson.OPT_SORT_KEYS)] = data
    kinds = [registry.get(name) for name, found in sorted(logs.items()) if len(found) >= LEAST_LOGS]
    return [
        compare(kind, [*logs[kind.name].values()]) for kind in kinds if kind.schema.fields and not kind.schema.is_text
    ]


def totals() -> dict[str, Score]:
    """Over all log types."""
    sums = {"types": Score(), "event time": Score(), "indicators": Score()}
    for one in compared():
        for score, part in zip(sums.values(), (one.types, one.event_time, one.indicators), strict=True):
            score.agreed += part.agreed
            score.inferred += part.inferred
            score.written += part.written
    return sums


@public_corpus.needed
def test_precision_and_recall_are_at_least_nine_tenths() -> None:
    """Of types, event times and indicators."""
    assert len(compared()) >= 25
    for name, score in totals().items():
        assert score.precision >= LEAST, f"{name}: {score}"
        assert score.recall >= LEAST, f"{name}: {score}"


def main() -> None:
    """The table."""
    columns = "types: precision, recall", "indicators: precision, recall"
    print(f"{'log type':28s} logs  {columns[0]:40s}{columns[1]:40s}event json undeclared")
    for one in compared():
        event = "" if not one.event_time.written else "yes" if one.event_time.agreed else "NO"
        scores = f"{one.types}  {one.indicators}"
        print(f"{one.log_type:28s} {one.logs:4d}  {scores}  {event:5s} {one.json:4d} {one.undeclared:4d}")
    for name, score in totals().items():
        print(f"{name:34s} {score}")
    for one in compared():
        for text in one.disagreements:
            print(f"{one.log_type}: {text}")


if __name__ == "__main__":
    main()
