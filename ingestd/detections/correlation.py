"""Correlation rules: whether matches of several detections, seen together, are one finding. A pure matcher.

A *group* wants its steps in any order within the look-back window, a *sequence* wants them in the order of its
transitions, each hop within its time. Steps are joined by values: fields of the matches that must have a value in
common, scalars compared as text, a list counting as each of its elements.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

DEFAULT_LOOKBACK_MINUTES = 15
_ANY = ""
"""Stands for the value when steps are not joined by one."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Matches of one detection."""

    id: str
    detection_id: str
    min_count: int = 1
    max_count: int | None = None
    absent: bool = False


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """From one step of a sequence to the next."""

    origin: str
    target: str
    minutes: float
    joins: tuple[tuple[str, str], ...] = ()
    """Pairs of fields, of the one and of the other step's matches, that must have a value in common."""


class Correlation(msgspec.Struct, frozen=True, kw_only=True):
    """One correlation rule."""

    steps: tuple[Step, ...]
    criteria: tuple[dict[str, str], ...] = ()
    """Of a group: each is step id to field; the steps named must share a value."""
    hops: tuple[Hop, ...] = ()
    """Of a sequence."""
    is_sequence: bool = False
    lookback_minutes: float = DEFAULT_LOOKBACK_MINUTES
    rate_minutes: float | None = None

    @property
    def detection_ids(self) -> frozenset[str]:
        """The detections whose matches it needs."""
        return frozenset(step.detection_id for step in self.steps)


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One match of a step's detection: when, and its fields by dotted name, each a list of values."""

    time: float
    """Seconds."""
    fields: Mapping[str, Sequence[Any]]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The steps came together."""

    values: dict[str, str]
    """Criterion's number or hop to the value in common."""
    start: float
    end: float


def find(correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]]) -> Finding | None:
    """The first finding among the sightings of each step (by step id), or None."""
    if correlation.is_sequence:
        return _find_sequence(correlation, sightings)
    return _find_group(correlation, sightings)


def _find_group(correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]]) -> Finding | None:
    """Every criterion has a value for which all steps are met in one window."""
    findings = []
    for number, criterion in enumerate(correlation.criteria or ({},)):
        found = _find_value(correlation, criterion, sightings, str(number))
        if found is None:
            return None
        findings.append(found)
    return Finding(
        values={name: value for finding in findings for name, value in finding.values.items()},
        start=min(finding.start for finding in findings),
        end=max(finding.end for finding in findings),
    )


def _find_value(
    correlation: Correlation, criterion: Mapping[str, str], sightings: Mapping[str, Sequence[Sighting]], name: str
) -> Finding | None:
    times = {
        step.id: _times_by_value(sightings.get(step.id, ()), criterion.get(step.id)) for step in correlation.steps
    }
    present = [step for step in correlation.steps if not step.absent]
    values: set[str] | None = None
    for step in present:
        if step.id in criterion or not criterion:
            values = set(times[step.id]) if values is None else values & set(times[step.id])
    for value in sorted(values or ()):
        own = {
            step.id: times[step.id].get(value if step.id in criterion or not criterion else _ANY, [])
            for step in correlation.steps
        }
        window = _window(correlation, own)
        if window is not None:
            return Finding(values={name: value} if criterion else {}, start=window[0], end=window[1])
    return None


def _window(correlation: Correlation, times: Mapping[str, list[float]]) -> tuple[float, float] | None:
    """The first and last match of a window of the look-back's length that begins at some match and in which all
    steps are met. What must be absent must not lie within the look-back before or after either."""
    length = correlation.lookback_minutes * 60
    present = [step for step in correlation.steps if not step.absent]
    absent = [step for step in correlation.steps if step.absent]
    for start in sorted({time for step in present for time in times[step.id]}):
        end = start + length
        if all(_is_met(step, _count(times[step.id], start, end)) for step in present):
            last = max(time for step in present for time in times[step.id] if start <= time <= end)
            if not any(_count(times[step.id], last - length, end) for step in absent):
                return start, last
    return None


def _is_met(step: Step, count: int) -> bool:
    return count >= step.min_count and (step.max_count is None or count <= step.max_count)


def _find_sequence(correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]]) -> Finding | None:
    """A chain of matches along the hops, all within the look-back window."""
    first = correlation.steps[0]
    hops = {hop.origin: hop for hop in correlation.hops}
    steps = {step.id: step for step in correlation.steps}
    for start in sorted(sightings.get(first.id, ()), key=lambda sighting: sighting.time):
        if not _is_met(first, len(sightings.get(first.id, ()))):
            return None
        chain = _follow(
            start, hops.get(first.id), hops, steps, sightings, start.time + correlation.lookback_minutes * 60
        )
        if chain is not None:
            values = {f"{hop.origin}:{hop.target}": value for hop, value in chain[0]}
            return Finding(values=values, start=start.time, end=chain[1])
    return None


def _follow(
    here: Sighting,
    hop: Hop | None,
    hops: Mapping[str, Hop],
    steps: Mapping[str, Step],
    sightings: Mapping[str, Sequence[Sighting]],
    deadline: float,
) -> tuple[list[tuple[Hop, str]], float] | None:
    """The rest of the chain from a match: the hops taken with their values in common, and the time of the end."""
    if hop is None:
        return [], here.time
    step = steps[hop.target]
    until = min(deadline, here.time + hop.minutes * 60)
    reached = [
        (there, value)
        for there in sorted(sightings.get(hop.target, ()), key=lambda sighting: sighting.time)
        if here.time <= there.time <= until and (value := _common(here, there, hop)) is not None
    ]
    if step.absent:
        return None if reached else ([], here.time)
    if not _is_met(step, len(reached)):
        return None
    for there, value in reached[step.min_count - 1 :]:
        rest = _follow(there, hops.get(hop.target), hops, steps, sightings, deadline)
        if rest is not None:
            return [(hop, value), *rest[0]], rest[1]
    return None


def _common(here: Sighting, there: Sighting, hop: Hop) -> str | None:
    """A value that all joins of the hop have in common; `""` if it has none to ask for, None if they differ."""
    found = _ANY
    for origin, target in hop.joins:
        shared = _texts(here.fields.get(origin, ())) & _texts(there.fields.get(target, ()))
        if not shared:
            return None
        found = min(shared)
    return found


def _times_by_value(sightings: Sequence[Sighting], field: str | None) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for sighting in sightings:
        for value in {_ANY} if field is None else _texts(sighting.fields.get(field, ())):
            times.setdefault(value, []).append(sighting.time)
    for found in times.values():
        found.sort()
    return times


def _count(times: list[float], start: float, end: float) -> int:
    return bisect_right(times, end) - bisect_left(times, start)


def _texts(values: Sequence[Any]) -> set[str]:
    return {str(value) for value in values if value is not None}
