"""Correlation rules: matches of several detections that, seen together, are one finding.

A *group* wants its steps in any order within the look-back window (`groups`), a *sequence* wants them in the order of
its transitions, each hop within its time (`chains`). Steps are joined by values: fields of the matches that must have
a value in common, scalars compared as text, a list counting as each of its elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

DEFAULT_LOOKBACK_MINUTES = 15
DEFAULT_RATE_MINUTES = 1.0
MOST_MINUTES = 10 * 366 * 24 * 60
"""Of a rate or a window: what is rarer never runs, and infinity is a number to YAML."""
ANY = ""
"""Stands for the value when steps are not joined by one."""
MOST_EVIDENCE = 100
"""Sightings that a finding names."""


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
    """Of a sequence. They come back to no step."""
    is_sequence: bool = False
    lookback_minutes: float = DEFAULT_LOOKBACK_MINUTES
    rate_minutes: float | None = None
    timeout_minutes: float | None = None

    @property
    def detection_ids(self) -> frozenset[str]:
        """The detections whose matches it needs."""
        return frozenset(step.detection_id for step in self.steps)

    @property
    def wait_minutes(self) -> float:
        """How long to wait for what must be absent before it is taken to be: a transition's time, a group's rate."""
        absent = {step.id for step in self.steps if step.absent}
        hops = [hop.minutes for hop in self.hops if hop.target in absent]
        return max(hops, default=self.rate_minutes or self.lookback_minutes) if absent else 0.0

    @property
    def kept_minutes(self) -> float:
        """How long a match has to be remembered: until its turn, and then as long as it may belong to a newer one."""
        return (self.rate_minutes or DEFAULT_RATE_MINUTES) + self.wait_minutes + 2 * self.lookback_minutes

    def fields(self) -> Iterator[tuple[str, str]]:
        """(detection id, field) of everything that its steps are joined by."""
        detections = {step.id: step.detection_id for step in self.steps}
        for criterion in self.criteria:
            for step, field in criterion.items():
                yield detections[step], field
        for hop in self.hops:
            for origin, target in hop.joins:
                yield detections[hop.origin], origin
                yield detections[hop.target], target


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One match of a step's detection: when, and its fields by dotted name, each a list of values."""

    time: float
    """Seconds."""
    fields: Mapping[str, Sequence[Any]]
    row_id: str = ""
    """Of the event that matched."""
    is_new: bool = True
    """Not looked at before."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A sighting that is part of a finding."""

    step: str
    detection_id: str
    time: float
    row_id: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The steps came together."""

    values: dict[str, str]
    """Criterion's number or hop to the value in common."""
    start: float
    end: float
    evidence: tuple[Evidence, ...] = ()
    """What makes it up, by time; the first of very many."""


def evidence_of(step: Step, sightings: Sequence[Sighting]) -> list[Evidence]:
    """The sightings of a step, as part of a finding."""
    shown = sightings[:MOST_EVIDENCE]
    return [Evidence(step=step.id, detection_id=step.detection_id, time=one.time, row_id=one.row_id) for one in shown]


def is_met(step: Step, count: int) -> bool:
    """Whether so many sightings are neither too few nor too many."""
    return count >= step.min_count and (step.max_count is None or count <= step.max_count)


def texts(values: Sequence[Any]) -> set[str]:
    """Values as they are compared."""
    return {str(value) for value in values if value is not None}
