"""Finding what correlation rules look for, in sightings of the detections of their steps. A pure matcher.

A finding has at least one sighting that is new: who looks again, with what came since, does not find the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ingestd.detections.correlation.chains import chains
from ingestd.detections.correlation.groups import groups
from ingestd.detections.correlation.model import Correlation, Finding, Sighting


def find(correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]]) -> Finding | None:
    """The first finding among the sightings of each step (by step id), or None."""
    return next(findings(correlation, sightings), None)


def findings(
    correlation: Correlation, sightings: Mapping[str, Sequence[Sighting]], check: Callable[[], None] = lambda: None
) -> Iterator[Finding]:
    """Every finding: one for each value in common and each window that shares no sighting with the one before.
    `check` is called now and then, and may raise to make an end."""
    return (chains if correlation.is_sequence else groups)(correlation, sightings, check)
