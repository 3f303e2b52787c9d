"""Correlation rules as they are written: reading the YAML, and the sightings that their tests describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from reprlib import repr as brief
from typing import Any, TypeVar

from ingestd.detections.correlation.model import (
    DEFAULT_LOOKBACK_MINUTES,
    MOST_MINUTES,
    Correlation,
    Hop,
    Sighting,
    Step,
)


class CorrelationError(ValueError):
    """A correlation rule is malformed. `path` leads to the place in its YAML."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


def parse(detection: Any) -> tuple[Correlation, ...]:
    """The correlations under the `Detection` key of a correlation rule; CorrelationError if they are malformed."""
    if not isinstance(detection, list) or not detection:
        raise CorrelationError("must be a list with a Group or a Sequence", "Detection")
    return tuple(_parse_one(entry, index) for index, entry in enumerate(detection))


def _parse_one(entry: Any, index: int) -> Correlation:
    if not isinstance(entry, Mapping) or ("Group" in entry) == ("Sequence" in entry):
        raise CorrelationError("must have either Group or Sequence", "Detection", index)
    kind = "Sequence" if "Sequence" in entry else "Group"
    steps = tuple(
        _step(step, "Detection", index, kind, number) for number, step in enumerate(_items(entry, kind, index))
    )
    ids = [step.id for step in steps]
    if len(set(ids)) < len(ids):
        raise CorrelationError("two steps have one ID", "Detection", index, kind)
    lookback = _minutes(entry, "LookbackWindowMinutes", DEFAULT_LOOKBACK_MINUTES, "Detection", index)
    schedule = entry.get("Schedule")
    if schedule is not None and not isinstance(schedule, Mapping):
        raise CorrelationError("must be a mapping with RateMinutes", "Detection", index, "Schedule")
    hops = tuple(_hops(entry, ids, lookback, index)) if kind == "Sequence" else ()
    if kind == "Sequence":
        _refuse_gaps(hops, ids, index)
    return Correlation(
        steps=steps,
        criteria=() if kind == "Sequence" else tuple(_criteria(entry.get("MatchCriteria"), ids, index)),
        hops=hops,
        is_sequence=kind == "Sequence",
        lookback_minutes=lookback,
        rate_minutes=_minutes(schedule or {}, "RateMinutes", None, "Detection", index, "Schedule"),
        timeout_minutes=_minutes(schedule or {}, "TimeoutMinutes", None, "Detection", index, "Schedule"),
    )


def _refuse_gaps(hops: tuple[Hop, ...], ids: list[str], index: int) -> None:
    """Following the transitions must lead to each step once, as one that is not reached would never count."""
    path = ("Detection", index, "Transitions")
    following: dict[str, str] = {}
    for number, hop in enumerate(hops):
        if hop.origin in following:
            raise CorrelationError(f"a second transition from the step {hop.origin!r}", *path, number)
        following[hop.origin] = hop.target
    seen = [ids[0]]
    while (at := following.get(seen[-1])) is not None:
        if at in seen:
            raise CorrelationError(f"come back to the step {at!r}", *path)
        seen.append(at)
    missed = [step for step in ids if step not in seen]
    if missed:
        raise CorrelationError(f"do not lead from the step {ids[0]!r} to {', '.join(map(repr, missed))}", *path)


def _items(entry: Mapping[str, Any], key: str, index: int) -> list[Any]:
    items = entry.get(key)
    if not isinstance(items, list) or not items:
        raise CorrelationError("must be a list", "Detection", index, key)
    return items


def _step(step: Any, *path: str | int) -> Step:
    if not isinstance(step, Mapping) or not isinstance(step.get("RuleID"), str):
        raise CorrelationError("a step needs ID and RuleID", *path)
    return Step(
        id=str(step.get("ID") or step["RuleID"]),
        detection_id=step["RuleID"],
        min_count=_matches(step, "MinMatchCount", path) or 1,
        max_count=_matches(step, "MaxMatchCount", path),
        absent=step.get("Absence") is True,
    )


def _matches(step: Mapping[str, Any], key: str, path: tuple[str | int, ...]) -> int | None:
    count = step.get(key)
    if count is None or (type(count) is int and count > 0):
        return count
    raise CorrelationError(f"must be a whole number above 0, not {count!r}", *path, key)


def _criteria(criteria: Any, ids: list[str], index: int) -> Iterable[dict[str, str]]:
    if criteria is None:
        return
    if not isinstance(criteria, Mapping):
        raise CorrelationError("must be a mapping", "Detection", index, "MatchCriteria")
    for name, members in criteria.items():
        found = {}
        for member in members if isinstance(members, list) and members else [None]:
            if not isinstance(member, Mapping) or member.get("GroupID") not in ids or "Match" not in member:
                raise CorrelationError(
                    "needs GroupID of a step, and Match", "Detection", index, "MatchCriteria", str(name)
                )
            found[str(member["GroupID"])] = str(member["Match"])
        yield found


def _hops(entry: Mapping[str, Any], ids: list[str], lookback: float, index: int) -> Iterable[Hop]:
    given = entry.get("Transitions")
    if given is None:
        given = [{"From": origin, "To": target} for origin, target in pairwise(ids)]
    if not isinstance(given, list):
        raise CorrelationError("must be a list", "Detection", index, "Transitions")
    for number, hop in enumerate(given):
        path = ("Detection", index, "Transitions", number)
        if not isinstance(hop, Mapping) or hop.get("From") not in ids or hop.get("To") not in ids:
            raise CorrelationError("needs From and To, IDs of steps", *path)
        yield Hop(
            origin=str(hop["From"]),
            target=str(hop["To"]),
            minutes=_minutes(hop, "WithinTimeFrameMinutes", lookback, *path),
            joins=tuple(_join(match, path) for match in hop.get("Match") or ()),
        )


def _join(match: Any, path: tuple[str | int, ...]) -> tuple[str, str]:
    if isinstance(match, Mapping) and "On" in match:
        return str(match["On"]), str(match["On"])
    if isinstance(match, Mapping) and "From" in match and "To" in match:
        return str(match["From"]), str(match["To"])
    raise CorrelationError("Match needs On, or From and To", *path)


_Default = TypeVar("_Default", float, None)


def _minutes(given: Mapping[str, Any], key: str, default: _Default, *path: str | int) -> float | _Default:
    value = given.get(key)
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 < value <= MOST_MINUTES:
        said = f"must be a number of minutes above 0, at most {MOST_MINUTES}, not {brief(value)}"
        raise CorrelationError(said, *path, key)
    return float(value)


def sightings_of(rule_outputs: Any) -> dict[str, list[Sighting]]:
    """The sightings that a test's RuleOutputs describe: step id to matches. Times are minutes from some start, or
    RFC 3339."""
    found: dict[str, list[Sighting]] = {}
    for output in rule_outputs or ():
        own = found.setdefault(str(output.get("ID")), [])
        by_time: dict[float, dict[str, list[Any]]] = {}
        for field, values in (output.get("Matches") or {}).items():
            for value, times in values.items():
                for time in times:
                    fields = by_time.setdefault(seconds(time), {})
                    fields.setdefault(str(field), []).append(value)
        own.extend(Sighting(time=time, fields=fields) for time, fields in sorted(by_time.items()))
    return found


def seconds(time: Any) -> float:
    """A time of a test: minutes, or RFC 3339. ValueError if it is neither."""
    if type(time) in (int, float) and abs(time) <= MOST_MINUTES:
        return float(time) * 60
    parsed = datetime.fromisoformat(str(time))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
