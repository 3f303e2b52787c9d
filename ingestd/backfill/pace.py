"""No more than so much in a second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """A bucket that fills evenly and holds one second's worth. It may go into debt: a large object is waited for
    after it was taken. None is no limit."""

    def __init__(self, per_sec: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_sec = per_sec
        self._clock = clock
        self._left = per_sec or 0.0
        self._at = clock()

    def wait_secs(self) -> float:
        """Time until something may be taken; 0 when it may be now."""
        if self._per_sec is None:
            return 0.0
        now = self._clock()
        self._left = min(self._per_sec, self._left + (now - self._at) * self._per_sec)
        self._at = now
        # a bucket that holds less than one must not wait for one that it never holds
        lacking = min(1.0, self._per_sec) - self._left
        return max(0.0, lacking / self._per_sec)

    def take(self, amount: float) -> None:
        """Note that so much was taken."""
        self._left -= amount
