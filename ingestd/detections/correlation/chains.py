"""Sequences of correlation rules: chains of sightings along the hops, each within its time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from ingestd.detections.correlation.model import (
    ANY,
    MOST_EVIDENCE,
    Correlation,
    Evidence,
    Finding,
    Hop,
    Sighting,
    Step,
    evidence_of,
    is_met,
    texts,
)


def chains(
    correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]], check: Callable[[], None]
) -> Iterator[Finding]:
    """For each sighting of the first step, the chain that is complete first, if the look-back window holds it. One
    that begins within the chain before, with the same values, is part of that."""
    first = correlation.steps[0]
    starts = sorted(sightings.get(first.id, ()), key=lambda sighting: sighting.time)
    if not is_met(first, len(starts)):
        return
    walk = _Walk(correlation, sightings, check)
    ended: dict[tuple[str, ...], float] = {}
    for start in starts:
        rest = walk.from_here(start, first.id, needs_new=not start.is_new)
        if rest is None or rest.end > start.time + correlation.lookback_minutes * 60:
            continue
        values = walk.values(rest)
        key = tuple(values.values())
        if start.time <= ended.get(key, float("-inf")):
            continue
        ended[key] = rest.end
        evidence = (*evidence_of(first, [start]), *walk.evidence(rest))
        yield Finding(values=values, start=start.time, end=rest.end, evidence=evidence[:MOST_EVIDENCE])


class _Rest(msgspec.Struct):
    """How a chain goes on from a sighting."""

    end: float
    hop: Hop | None = None
    value: str = ANY
    there: Sighting | None = None
    """None where what must be absent is."""
    further: _Rest | None = None


class _Walk:
    """Each sighting of each step is looked at once: which way on from it is complete first."""

    def __init__(
        self, correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]], check: Callable[[], None]
    ) -> None:
        self._steps = {step.id: step for step in correlation.steps}
        self._hops = {hop.origin: hop for hop in correlation.hops}
        self._by_value = {hop.origin: _index(hop, sightings.get(hop.target, ())) for hop in correlation.hops}
        self._check = check
        self._known: dict[tuple[int, str, bool], _Rest | None] = {}

    def from_here(self, here: Sighting, step: str, *, needs_new: bool) -> _Rest | None:
        """The rest of the chain; None if there is none, or none with anything new when that is needed."""
        key = (id(here), step, needs_new)
        if key not in self._known:
            self._check()
            self._known[key] = self._look(here, self._hops.get(step), needs_new)
        return self._known[key]

    def _look(self, here: Sighting, hop: Hop | None, needs_new: bool) -> _Rest | None:
        if hop is None:
            return None if needs_new else _Rest(here.time)
        step = self._steps[hop.target]
        reached = self._reached(here, hop)
        if step.absent:
            return None if reached or needs_new else _Rest(here.time, hop)
        return self._best(hop, step, reached, needs_new) if is_met(step, len(reached)) else None

    def _best(self, hop: Hop, step: Step, reached: list[tuple[Sighting, str]], needs_new: bool) -> _Rest | None:
        best: _Rest | None = None
        for position in range(step.min_count - 1, len(reached)):
            there, value = reached[position]
            if best is not None and there.time >= best.end:
                break
            counted = reached[position + 1 - step.min_count : position + 1]
            is_new = any(sighting.is_new for sighting, _ in counted)
            further = self.from_here(there, hop.target, needs_new=needs_new and not is_new)
            if further is not None and (best is None or further.end < best.end):
                best = _Rest(further.end, hop, value, there, further)
        return best

    def _reached(self, here: Sighting, hop: Hop) -> list[tuple[Sighting, str]]:
        """Sightings of the hop's target in its time that share a value, with that value, by time."""
        index = self._by_value[hop.origin]
        wanted = {ANY} if not hop.joins else texts(here.fields.get(hop.joins[0][0], ()))
        found: dict[int, tuple[Sighting, str]] = {}
        for value in wanted:
            times, targets = index.get(value, ((), ()))
            first, end = bisect_left(times, here.time), bisect_right(times, here.time + hop.minutes * 60)
            for there in targets[first:end]:
                if id(there) not in found and (shared := _common(here, there, hop)) is not None:
                    found[id(there)] = (there, shared)
        return sorted(found.values(), key=lambda pair: pair[0].time)

    def values(self, rest: _Rest) -> dict[str, str]:
        """Hop to the value in common, along the chain."""
        found = {}
        at: _Rest | None = rest
        while at is not None and at.hop is not None:
            if at.there is not None:
                found[f"{at.hop.origin}:{at.hop.target}"] = at.value
            at = at.further
        return found

    def evidence(self, rest: _Rest) -> list[Evidence]:
        """The sightings of the chain after the first."""
        found = []
        at: _Rest | None = rest
        while at is not None and at.hop is not None:
            if at.there is not None:
                found += evidence_of(self._steps[at.hop.target], [at.there])
            at = at.further
        return found


def _index(hop: Hop, targets: Sequence[Sighting]) -> dict[str, tuple[list[float], list[Sighting]]]:
    """Sightings that a hop may reach by the value of its first join, each with its times."""
    found: dict[str, list[Sighting]] = {}
    for there in sorted(targets, key=lambda sighting: sighting.time):
        for value in {ANY} if not hop.joins else texts(there.fields.get(hop.joins[0][1], ())):
            found.setdefault(value, []).append(there)
    return {value: ([one.time for one in own], own) for value, own in found.items()}


def _common(here: Sighting, there: Sighting, hop: Hop) -> str | None:
    """A value that all joins of the hop have in common; `""` if it has none to ask for, None if they differ."""
    found = ANY
    for origin, target in hop.joins:
        shared = texts(here.fields.get(origin, ())) & texts(there.fields.get(target, ()))
        if not shared:
            return None
        found = min(shared)
    return found
