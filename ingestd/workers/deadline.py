"""Finds children that come no further: the limit behind the limits, for a call into C that never returns.

Only time that a child itself spends is counted: its CPU time, and time asleep inside a detection. A child that is
stopped, starved of CPU, waiting for input or for the parent uses none of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from ingestd.workers.board import Phase
from ingestd.workers.worker import Worker

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STATE, _UTIME, _STIME = 0, 11, 12
"""Positions in /proc/<pid>/stat after the name."""


class Deadline:
    """Time that one child used since it last came further. Ask `expired` now and then."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._progress: tuple[int, ...] = ()
        self._cpu = 0.0
        self._asleep = 0.0
        self._looked_at = time.monotonic()

    def expired(self, interval: float) -> bool:
        """Whether the child used up its time. `interval` is the time meant to lie between two questions: more than
        twice that is not counted, for then it is this process that did not run."""
        place = self._worker.board.read()
        found = _process(self._worker.pid)
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, 2 * interval), now
        if found is None:
            return False
        state, cpu = found
        waits = place.phase in {Phase.IDLE, Phase.CALL, Phase.SEND}
        if waits or place.progress != self._progress:
            self._progress, self._cpu, self._asleep = place.progress, cpu, 0.0
            return False
        if state == "S" and place.phase is Phase.DETECT:
            self._asleep += passed
        return cpu - self._cpu + self._asleep > self._seconds


def _process(pid: int) -> tuple[str, float] | None:
    """State letter and CPU seconds of a process, None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return fields[_STATE].decode(), (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS
