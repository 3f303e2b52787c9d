"""Who ended a child: decided from the places at which its work died, one object at a time.

An object that was under way when a child died runs again. If it was being worked on, it runs alone and carefully:
each call of a detection is noted first. Death at the same place twice names the culprit, so that a child killed from
outside costs nothing but time. A detection on a record is skipped and becomes an error; a record that no detection is
to blame for becomes a reject; bytes that end children before any record comes of them make the object a reject.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from ingestd.model import ObjectTask, Range
from ingestd.workers.board import Blame, Phase, Place
from ingestd.workers.frames import Open

CAREFUL_MARGIN: Final = 2048
"""Ordinals after the place of a death that are still run carefully."""
CAREFUL_FLUSH_SECONDS: Final = 0.05
BYSTANDER_DEATHS: Final = 2
"""Deaths of an object's child, while others were worked on, after which it is a suspect too."""
CONDEMNED_AFTER: Final = 12
"""Deaths in careful mode without a culprit or any progress after which the object is a reject."""
CONDEMNED: Final = "worker_killed"

_NO_RECORD: Final = -1
_ALL: Final = 1 << 62

Culprit = tuple[int, str]
"""(ordinal, detection)"""


class Death:
    """How a child ended."""

    def __init__(self, place: Place, *, stuck: bool, detail: str) -> None:
        self.place = place
        self.stuck = stuck
        """The parent ended it because it came no further."""
        self.detail = detail

    @property
    def certain(self) -> bool:
        """Whether what is noted is to blame beyond doubt."""
        return self.stuck or self.place.blame in {Blame.STUBBORN, Blame.MEMORY, Blame.BROKEN}


class Case:
    """What is known about one object: how its next attempt must run."""

    def __init__(self, task: ObjectTask) -> None:
        self._task = task
        self._returned: list[Range] = list(task.skip)
        self._skip_calls = list(task.skip_calls)
        self._skip_records = list(task.skip_records)
        self._deaths_as_bystander = 0
        self._deaths_since_progress = 0
        self._seen: dict[tuple[int, str], int] = {}
        """(ordinal, detection or "") → deaths there."""
        self._careful_until = 0
        self._flush_seconds = CAREFUL_FLUSH_SECONDS
        self._condemned = ""
        self._is_fresh = True
        """Nothing happened yet: the task is to begin as it was given."""

    @property
    def careful(self) -> bool:
        """Whether the object must run alone."""
        return bool(self._careful_until or self._condemned)

    def returned(self, first: int, end: int) -> None:
        """The rows of these ordinals have been handed on."""
        self._is_fresh = False
        self._deaths_since_progress = 0
        if self._returned and self._returned[-1][1] == first:
            self._returned[-1] = (self._returned[-1][0], end)
        else:
            self._returned.append((first, end))

    def opening(self) -> Open:
        """How to begin the next attempt."""
        task = self._task
        if self._is_fresh:
            return Open(task=task)
        return Open(
            task=msgspec.structs.replace(
                task,
                skip=merge(self._returned),
                skip_calls=tuple(self._skip_calls),
                skip_records=tuple(self._skip_records),
            ),
            careful_until=self._careful_until,
            flush_seconds=self._flush_seconds,
            condemned=self._condemned,
        )

    def died(self, death: Death) -> Culprit | None:
        """The child died under this object. Answers what is skipped from now on, if that is news."""
        self._is_fresh = False
        place = death.place
        if place.blame is Blame.FULL:
            return None
        if place.task != self._task.task or place.phase is Phase.IDLE:
            self._bystander(death)
            return None
        was_careful = self.careful
        self._careful_until = max(self._careful_until, place.ordinal + CAREFUL_MARGIN)
        if place.phase is Phase.FRAME:
            self._count(_NO_RECORD, "", was_careful)
            return None
        if place.phase in {Phase.DETECT, Phase.CALL} or place.rule:
            return self._detection_died(death, was_careful)
        self._record_died(death, was_careful)
        return None

    def _bystander(self, death: Death) -> None:
        self._deaths_as_bystander += 1
        if self.careful:
            self._count(_NO_RECORD, "", True)
        elif death.place.blame is Blame.BROKEN or self._deaths_as_bystander >= BYSTANDER_DEATHS:
            self._careful_until = _ALL

    def _detection_died(self, death: Death, was_careful: bool) -> Culprit | None:
        place = death.place
        key = (place.ordinal, place.rule)
        before = self._seen.get((place.ordinal, ""), 0) + self._seen.get(key, 0)
        self._seen[key] = self._seen.get(key, 0) + 1
        if not place.rule or not (death.certain or before):
            self._count(place.ordinal, "", was_careful)
            return None
        if key in self._skip_calls:  # it is not the call: the record itself, then
            self._skip_records.append(place.ordinal)
            return None
        self._skip_calls.append(key)
        self._deaths_since_progress = 0
        return key

    def _record_died(self, death: Death, was_careful: bool) -> None:
        ordinal = death.place.ordinal
        if death.place.phase is not Phase.READ and self._flush_seconds:
            self._flush_seconds = 0.0  # it may have been any record of the result: make each a result of its own
            return
        self._count(ordinal, "", was_careful)
        twice = was_careful and self._seen[ordinal, ""] > 1
        if death.place.blame is Blame.MEMORY or twice:
            if ordinal in self._skip_records:
                self._condemned = CONDEMNED
            else:
                self._skip_records.append(ordinal)

    def _count(self, ordinal: int, rule: str, was_careful: bool) -> None:
        """One more death without a culprit. Later ones return results after each record, to come as close as can
        be; in the end the object is given up."""
        self._seen[ordinal, rule] = self._seen.get((ordinal, rule), 0) + 1
        if not was_careful:
            return
        self._deaths_since_progress += 1
        if self._deaths_since_progress > 1:
            self._flush_seconds = 0.0
        framing_kills = ordinal == _NO_RECORD and self._seen[ordinal, rule] > 3
        if framing_kills or self._deaths_since_progress > CONDEMNED_AFTER:
            self._condemned = CONDEMNED


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same ordinals as sorted, disjoint ranges."""
    merged: list[Range] = []
    for first, end in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return tuple(merged)


Deed = Literal["kill", "timeout", "presence"]
"""What a detection did: ended a child; ran out of time; was running when a child ended, which may be chance."""


class Suspects:
    """Counts what detections do to children, over all objects; says which are to be suspended."""

    def __init__(self, *, kills: int, timeouts: int, window_seconds: float) -> None:
        self._limits: dict[Deed, int] = {"kill": kills, "timeout": timeouts, "presence": 3 * kills}
        self._window = window_seconds
        self._times: dict[tuple[str, Deed], list[float]] = {}
        self.suspended: set[str] = set()

    def add(self, rule: str, what: Deed, now: float, count: int = 1) -> bool:
        """Note that `rule` did something `count` times. True when it is suspended by that."""
        if rule in self.suspended:
            return False
        limit = self._limits[what]
        times = [at for at in self._times.get((rule, what), []) if at > now - self._window]
        times = [*times, *[now] * min(count, limit)][-limit:]
        self._times[rule, what] = times
        if len(times) < limit:
            return False
        self.suspended.add(rule)
        return True
