"""Groups of correlation rules: windows in which all steps are met, in any order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from ingestd.detections.correlation.model import (
    ANY,
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
    """Every criterion has a value for which all steps are met in one window."""
    if len(correlation.criteria) < 2:
        criterion = correlation.criteria[0] if correlation.criteria else {}
        yield from _of_criterion(correlation, criterion, sightings, "0", check)
        return
    found = []
    for number, criterion in enumerate(correlation.criteria):
        first = next(_of_criterion(correlation, criterion, sightings, str(number), check), None)
        if first is None:
            return
        found.append(first)
    evidence = sorted({one for finding in found for one in finding.evidence}, key=lambda one: one.time)
    yield Finding(
        values={name: value for finding in found for name, value in finding.values.items()},
        start=min(finding.start for finding in found),
        end=max(finding.end for finding in found),
        evidence=tuple(evidence[:MOST_EVIDENCE]),
    )


def _of_criterion(
    correlation: Correlation,
    criterion: Mapping[str, str],
    sightings: Mapping[str, Sequence[Sighting]],
    name: str,
    check: Callable[[], None],
) -> Iterator[Finding]:
    """The windows of each value that all steps of a criterion share."""
    by_value = {step.id: _by_value(sightings.get(step.id, ()), criterion.get(step.id)) for step in correlation.steps}
    joined = [step for step in correlation.steps if not step.absent and (step.id in criterion or not criterion)]
    shared = set.intersection(*(set(by_value[step.id]) for step in joined)) if joined else set()
    for value in sorted(shared):
        lines = {
            step.id: by_value[step.id].get(value if step.id in criterion or not criterion else ANY, _EMPTY)
            for step in correlation.steps
        }
        for start, last, evidence in _windows(correlation, lines, check):
            yield Finding(values={name: value} if criterion else {}, start=start, end=last, evidence=evidence)


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


def _by_value(sightings: Sequence[Sighting], field: str | None) -> dict[str, _Timeline]:
    found: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        for value in {ANY} if field is None else texts(sighting.fields.get(field, ())):
            found.setdefault(value, []).append(sighting)
    return {value: _Timeline(own) for value, own in found.items()}


def _count(line: _Timeline, start: float, end: float) -> int:
    first, to = line.within(start, end)
    return to - first
