"""Correlation rules over the matches that were committed, as each of them is due.

The sightings come from the state, not from the lake: they enter it in the transaction that counts their matches, so a
turn sees each match once, signals too, as soon as it is durable and however late its event was. A turn looks at what
came since the last one, together with all that lies within the look-back of it, and its findings and the new position
are committed at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from ingestd.detections.correlation.findings import findings
from ingestd.detections.correlation.model import DEFAULT_RATE_MINUTES, Correlation, Finding, Sighting
from ingestd.errors import Permanent
from ingestd.state import sightings as table
from ingestd.state.base import State

DEFAULT_TIMEOUT_MINUTES = 5.0
LONGEST_TIMEOUT_MINUTES = 60.0
MOST_NEW = 10_000
"""Sightings of one turn; the rest is for the next, which comes at once."""
MOST_SIGHTINGS = 50_000
"""Sightings that are looked at together."""
MOST_FINDINGS = 1_000
MOST_SPANS = 20
"""Stretches of time that are looked at together."""
_ACROSS = 2.0
"""How many look-backs before and after what is new may belong to the same finding."""


class Look:
    """One turn of one correlation rule: `read`, then `find`, then `position` is how far it has come."""

    def __init__(self, name: str, correlations: Sequence[Correlation]) -> None:
        self._name = name
        self._correlations = correlations
        self._detections = sorted({detection for one in correlations for detection in one.detection_ids})
        self._new: list[table.Sighting] = []
        self._around: list[table.Sighting] = []
        rates = [one.rate_minutes for one in correlations if one.rate_minutes is not None]
        timeouts = [one.timeout_minutes for one in correlations if one.timeout_minutes is not None]
        self.rate_secs = 60.0 * min(rates, default=DEFAULT_RATE_MINUTES)
        self.timeout_secs = 60.0 * min(max(timeouts, default=DEFAULT_TIMEOUT_MINUTES), LONGEST_TIMEOUT_MINUTES)
        self._settle_secs = 60.0 * max(one.wait_minutes for one in correlations)
        self._is_behind = self._was_cut = False
        self._broken_off = False

    @property
    def position(self) -> int:
        """The newest sighting that this turn looked at."""
        return self._new[-1].seq

    @property
    def is_behind(self) -> bool:
        """Whether there was more than one turn takes."""
        return self._is_behind

    async def read(self, state: State, position: int, now: float) -> bool:
        """Fetch what is new and what lies around it; False when nothing is. Where something must be absent, what is
        new is looked at only after a while: until then the absent may yet come."""
        until = now - self._settle_secs if self._settle_secs else float("inf")
        newest = await state.read(lambda tx: table.newest(tx, self._detections))
        if max(newest.values(), default=0) <= position:
            return False
        self._new = await state.read(
            lambda tx: table.since(tx, self._detections, after=position, seen_until=until, limit=MOST_NEW)
        )
        if not self._new:
            return False
        more = await state.read(
            lambda tx: table.since(tx, self._detections, after=self.position, seen_until=until, limit=1)
        )
        self._is_behind = bool(more)
        across = _ACROSS * 60.0 * max(one.lookback_minutes for one in self._correlations)
        spans = _spans([one.time for one in self._new], across)
        self._around = await state.read(lambda tx: table.between(tx, self._detections, spans, MOST_SIGHTINGS))
        there = await state.read(lambda tx: table.count(tx, self._detections, spans))
        self._was_cut = there > len(self._around)
        return True

    async def find(self, clock: Callable[[], float] = time.monotonic) -> list[bytes]:
        """Findings as records of a result. Raises `Permanent` when they take more than the rule's time."""
        deadline = clock() + self.timeout_secs

        def check() -> None:
            if self._broken_off or clock() > deadline:
                raise Permanent(f"it took more than {self.timeout_secs:g} s", reason="query_timeout")

        try:
            return await asyncio.to_thread(lambda: list(self._records(check)))
        finally:
            self._broken_off = True  # a thread cannot be cancelled, and the daemon's end waits for it

    def _records(self, check: Callable[[], None]) -> Iterator[bytes]:
        if self._was_cut:
            text = f"too many matches lie within its look-back: only the newest {len(self._around):,} were joined"
            yield _error("TooManyMatches", text)
        new = {one.seq for one in self._new}
        seen = {one.seq: one for one in (*self._around, *self._new)}
        by_detection: dict[str, list[Sighting]] = {name: [] for name in self._detections}
        for seq, one in sorted(seen.items()):
            by_detection[one.detection_id].append(
                Sighting(time=one.time, fields=one.joins, row_id=one.row_id, is_new=seq in new)
            )
        count = 0
        for correlation in self._correlations:
            steps = {step.id: by_detection[step.detection_id] for step in correlation.steps}
            for finding in findings(correlation, steps, check):
                if count == MOST_FINDINGS:
                    yield _error("TooManyFindings", f"more than {MOST_FINDINGS:,} findings at once: narrow it")
                    return
                count += 1
                yield orjson.dumps({"result": _shown(self._name, correlation, finding)})


def _spans(moments: Sequence[float], across: float) -> list[tuple[float, float]]:
    """What lies around the moments, without what lies between them, as an event may claim to be of any year. Of very
    many stretches the earliest are one."""
    found: list[tuple[float, float]] = []
    for moment in sorted(moments, reverse=True):
        if found and (moment + across >= found[-1][0] or len(found) == MOST_SPANS):
            found[-1] = (moment - across, found[-1][1])
        else:
            found.append((moment - across, moment + across))
    return found


def failure(kind: str, text: str) -> bytes:
    """The record of a turn that failed."""
    return _error(kind, text)


def _error(kind: str, text: str) -> bytes:
    return orjson.dumps({"error": {"type": kind, "text": text}})


def _shown(name: str, correlation: Correlation, finding: Finding) -> dict[str, Any]:
    """A finding for people: what was in common, when, and which matches."""
    return {
        "rule": name,
        "values": {_field(correlation, key): value for key, value in finding.values.items()},
        "start": _text(finding.start),
        "end": _text(finding.end),
        "p_event_time": _text(finding.end),
        "matches": [
            {"step": one.step, "rule_id": one.detection_id, "p_event_time": _text(one.time), "p_row_id": one.row_id}
            for one in finding.evidence
        ],
    }


def _field(correlation: Correlation, key: str) -> str:
    """The fields behind a value in common, in the place of the criterion's number."""
    if correlation.is_sequence:
        return key
    return " = ".join(dict.fromkeys(correlation.criteria[int(key)].values()))


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f000")
