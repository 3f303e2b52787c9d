"""How long code of others may take to be imported: a module that never comes to its end must not hang who loads
it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ingestd.errors import RuleTimeout

CPU_SECS = 10.0
WALL_SECS = 100.0
"""For one that sleeps."""
AGAIN_SECS = 0.5
MOST_TIMES = 5
"""How often an import is told to end that catches it and goes on; then the process ends."""
EXIT_STUBBORN = 70

_waiting_for: Path | None = None
_exit = os._exit  # as it is now: what is imported does not get to call it


@contextmanager
def limited(file: Path) -> Iterator[None]:
    """Raise `RuleTimeout` in what runs inside when it takes too long. What a module imports counts for it. Only the
    main thread can be told; elsewhere there is no limit."""
    global _waiting_for  # noqa: PLW0603 - a process has one timer
    if _waiting_for is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    told, done = 0, False

    def over(_signal: int, _frame: FrameType | None) -> None:
        nonlocal told
        if done:
            return
        told += 1
        if told > MOST_TIMES:
            os.write(2, f"{file}: its import does not end, whatever it is told\n".encode())
            _exit(EXIT_STUBBORN)
        raise RuleTimeout(f"did not come to its end within {CPU_SECS:g} s of work, or {WALL_SECS:g} s by the clock")

    before = [signal.signal(number, over) for number in (signal.SIGPROF, signal.SIGALRM)]
    _waiting_for = file
    signal.setitimer(signal.ITIMER_PROF, CPU_SECS, AGAIN_SECS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECS, AGAIN_SECS)
    try:
        try:
            yield
        finally:
            done = True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _waiting_for = None
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)
