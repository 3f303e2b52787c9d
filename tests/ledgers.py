"""What the ledger's tests share: a clock that they turn, and the death of a daemon."""

from __future__ import annotations

import os

from ingestd.ledger import Ledger


class Clock:
    """Seconds since the epoch, as the test sets them."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, secs: float) -> None:
        """Let time pass."""
        self.now += secs


def crash(ledger: Ledger) -> None:
    """What SIGKILL leaves of a daemon: its lock is free, everything it had written stays as it is."""
    lock = ledger._member._lock
    assert lock is not None
    os.close(lock._descriptor)
    lock._descriptor = -1
    assert ledger._renewal is not None
    ledger._renewal.cancel()
    ledger._renewal = None
