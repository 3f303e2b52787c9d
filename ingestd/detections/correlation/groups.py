"""Groups of correlation rules: windows in which all steps are met, in any order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from ingestd.detections.correlation.model import (
    MOST_EVIDENCE,
    Correlation,
    Evidence,
    Finding,
    Sighting,
    evidence_of,
    is_met,
    texts,
)


class _Timeline:
    """Sightings of one step with one value, by time."""

    __slots__ = ("_new", "sightings", "times")

    def __init__(self, sightings: Sequence[Sighting]) -> None:
        self.sightings = sorted(sightings, key=lambda sighting: sighting.time)
        self.times = [sighting.time for sighting in self.sightings]
        self._new = [0, *accumulate(sighting.is_new for sighting in self.sightings)]

    def within(self, start: float, end: float) -> tuple[int, int]:
        """The half-open range of those in `[start, end]`."""
        return bisect_left(self.times, start), bisect_right(self.times, end)

    def new(self, first: int, end: int) -> int:
        """How many of a range are new."""
        return self._new[end] - self._new[first]


_EMPTY = _Timeline(())


def groups(
    correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]], check: Callable[[], None]
) -> Iterator[Finding]:
    """Every criterion has a value for which, taken together, all steps are met in one window."""
    lines = {step.id: _Timeline(sightings.get(step.id, ())) for step in correlation.steps}
    for values, own in _sharing(correlation, 0, lines, check):
        for start, last, evidence in _windows(correlation, own, check):
            yield Finding(values=values, start=start, end=last, evidence=evidence)


def _sharing(
    correlation: Correlation, number: int, lines: Mapping[str, _Timeline], check: Callable[[], None]
) -> Iterator[tuple[dict[str, str], Mapping[str, _Timeline]]]:
    """The values that the steps of the criteria share, from the criterion of this number on, each with the sightings
    that have it."""
    if number == len(correlation.criteria):
        yield {}, lines
        return
    criterion = correlation.criteria[number]
    by_value = {step: _by_value(lines[step].sightings, field) for step, field in criterion.items()}
    joined = [set(by_value[step.id]) for step in correlation.steps if step.id in criterion and not step.absent]
    for value in sorted(set.intersection(*joined) if joined else ()):
        check()
        own = {**lines, **{step: found.get(value, _EMPTY) for step, found in by_value.items()}}
        for further, narrowed in _sharing(correlation, number + 1, own, check):
            yield {str(number): value, **further}, narrowed


def _windows(
    correlation: Correlation, lines: Mapping[str, _Timeline], check: Callable[[], None]
) -> Iterator[tuple[float, float, tuple[Evidence, ...]]]:
    """Windows of the look-back's length that begin at some match and in which all steps are met and something is
    new; the time of their first and last match. What must be absent must not lie within the look-back before or
    after either."""
    length = correlation.lookback_minutes * 60
    present = [step for step in correlation.steps if not step.absent]
    absent = [step for step in correlation.steps if step.absent]
    after = float("-inf")
    for start in sorted({time for step in present for time in lines[step.id].times}):
        check()
        if start <= after:
            continue
        end = start + length
        ranges = {step.id: lines[step.id].within(start, end) for step in present}
        if not all(is_met(step, ranges[step.id][1] - ranges[step.id][0]) for step in present):
            continue
        if not any(lines[name].new(*counted) for name, counted in ranges.items()):
            continue
        last = max(lines[name].times[to - 1] for name, (_, to) in ranges.items() if to)
        if any(_count(lines[step.id], last - length, end) for step in absent):
            continue
        evidence = [
            one for step in present for one in evidence_of(step, lines[step.id].sightings[slice(*ranges[step.id])])
        ]
        yield start, last, tuple(sorted(evidence, key=lambda one: one.time)[:MOST_EVIDENCE])
        after = last


def _by_value(sightings: Sequence[Sighting], field: str) -> dict[str, _Timeline]:
    found: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        for value in texts(sighting.fields.get(field, ())):
            found.setdefault(value, []).append(sighting)
    return {value: _Timeline(own) for value, own in found.items()}


def _count(line: _Timeline, start: float, end: float) -> int:
    first, to = line.within(start, end)
    return to - first
