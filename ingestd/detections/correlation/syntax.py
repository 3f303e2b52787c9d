"""Correlation rules as they are written: reading the YAML, and the sightings that their tests describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from ingestd.detections.correlation.model import DEFAULT_LOOKBACK_MINUTES, Correlation, Hop, Sighting, Step


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
    lookback = _minutes(entry.get("LookbackWindowMinutes"), DEFAULT_LOOKBACK_MINUTES, index, "LookbackWindowMinutes")
    schedule = entry.get("Schedule")
    if schedule is not None and not isinstance(schedule, Mapping):
        raise CorrelationError("must be a mapping with RateMinutes", "Detection", index, "Schedule")
    hops = tuple(_hops(entry, ids, lookback, index)) if kind == "Sequence" else ()
    _refuse_loop(hops, ids[0], index)
    return Correlation(
        steps=steps,
        criteria=() if kind == "Sequence" else tuple(_criteria(entry.get("MatchCriteria"), ids, index)),
        hops=hops,
        is_sequence=kind == "Sequence",
        lookback_minutes=lookback,
        rate_minutes=_of_schedule(schedule, "RateMinutes", index),
        timeout_minutes=_of_schedule(schedule, "TimeoutMinutes", index),
    )


def _of_schedule(schedule: Mapping[str, Any] | None, key: str, index: int) -> float | None:
    value = (schedule or {}).get(key)
    return None if value is None else _minutes(value, 0.0, index, key)


def _refuse_loop(hops: tuple[Hop, ...], first: str, index: int) -> None:
    """Following the transitions must come to an end."""
    following = {hop.origin: hop.target for hop in hops}
    seen, at = {first}, following.get(first)
    while at is not None:
        if at in seen:
            raise CorrelationError(f"come back to the step {at!r}", "Detection", index, "Transitions")
        seen.add(at)
        at = following.get(at)


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
        for member in members if isinstance(members, list) else [None]:
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
            minutes=_minutes(hop.get("WithinTimeFrameMinutes"), lookback, index, "WithinTimeFrameMinutes"),
            joins=tuple(_join(match, path) for match in hop.get("Match") or ()),
        )


def _join(match: Any, path: tuple[str | int, ...]) -> tuple[str, str]:
    if isinstance(match, Mapping) and "On" in match:
        return str(match["On"]), str(match["On"])
    if isinstance(match, Mapping) and "From" in match and "To" in match:
        return str(match["From"]), str(match["To"])
    raise CorrelationError("Match needs On, or From and To", *path)


def _minutes(value: Any, default: float, index: int, key: str) -> float:
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise CorrelationError(f"must be a number of minutes above 0, not {value!r}", "Detection", index, key)
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
                    fields = by_time.setdefault(_seconds(time), {})
                    fields.setdefault(str(field), []).append(value)
        own.extend(Sighting(time=time, fields=fields) for time, fields in sorted(by_time.items()))
    return found


def _seconds(time: Any) -> float:
    if isinstance(time, int | float):
        return float(time) * 60
    parsed = datetime.fromisoformat(str(time))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
