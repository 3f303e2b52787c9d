"""Notices when nothing moves although work is in hand, and writes where everything is.

There are two ways to stand still. Tasks wait for each other, or for something that never comes: the event loop turns,
and `watch` sees that no counter moves. Or the event loop itself hangs in one call: then a thread of `faulthandler`,
which needs neither the loop nor the interpreter lock, writes the stacks of all threads to stderr.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import time
from collections.abc import Callable
from typing import TextIO

from prometheus_client import Counter

from ingestd.telemetry import catalogue, occurrences, stacks
from ingestd.telemetry.health import Health

LOOK_SECS = 2.0
STALLED_SECS = 30.0
HOPELESS_SECS = 300.0
"""Nothing helps but a restart. Longer than a worker's time for a chunk, twice, and than the time-outs of stores."""

_PROGRESS = (catalogue.MESSAGES, catalogue.OBJECTS, catalogue.RECORDS, catalogue.LAKE_COMMITS, catalogue.ALERTS)
_TROUBLE = (catalogue.ERRORS, catalogue.WORKER_RESTARTS)
"""What fails and is tried again does not stand still: its reason is in the log, and a restart would not help."""


class Stall:
    """Watches the counters. `in_hand` tells whether anything is being read or committed at this moment; a message
    that only waits for the next commit is no work in hand."""

    def __init__(
        self, health: Health, in_hand: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._health = health
        self._in_hand = in_hand
        self._clock = clock
        self._progress = self._trouble = -1.0
        self._looked_at = self._stirred_at = clock()
        self._told = False

    async def watch(self, stderr: TextIO | None = None) -> None:
        """Look every few seconds until cancelled. `stderr` is the process's own unless told otherwise."""
        try:
            while True:
                faulthandler.dump_traceback_later(STALLED_SECS, file=stderr or sys.stderr)
                self.look()
                await asyncio.sleep(LOOK_SECS)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def look(self) -> None:
        """Compare with the last look; tell once per stall."""
        now = self._clock()
        progress, trouble = _total(_PROGRESS), _total(_TROUBLE)
        was_away = now - self._looked_at > STALLED_SECS / 2  # this process was stopped, not its work stuck
        if progress != self._progress:
            self._health.moved()
        if (progress, trouble) != (self._progress, self._trouble) or was_away or not self._in_hand():
            self._stirred_at, self._told = now, False
        self._progress, self._trouble, self._looked_at = progress, trouble, now
        if self.still_secs >= STALLED_SECS and not self._told:
            self._told = True
            occurrences.stalled(self.still_secs, stack=f"{stacks.tasks()}\n{stacks.threads()}")
            self._trouble = _total(_TROUBLE)  # to tell of it counts as an error, which is no movement

    @property
    def still_secs(self) -> float:
        """For how long nothing moved although there was work; 0 or a little more while all is well."""
        return self._looked_at - self._stirred_at

    @property
    def hopeless(self) -> bool:
        """Whether to let the supervisor restart the daemon, which loses nothing."""
        return self.still_secs >= HOPELESS_SECS


def _total(metrics: tuple[Counter, ...]) -> float:
    return sum(catalogue.total(metric) for metric in metrics)
