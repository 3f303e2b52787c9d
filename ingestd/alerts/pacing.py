"""When a destination may be sent to: how fast, and whether at all while it fails.

Both answer "how many now" and "when next" instead of waiting themselves, because an alert is claimed only when
it can be sent at once: a lease must not run out in a queue.
"""

from __future__ import annotations

FAILURES_TO_OPEN = 5
"""Failures in a row after which a destination counts as down. One bad alert among good ones never reaches it."""
FIRST_PAUSE_SECS = 15.0
LONGEST_PAUSE_SECS = 300.0
_BURST_SECS = 5.0


class Pace:
    """At most `per_minute` sends, in bursts of up to five seconds' worth."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_second = per_minute / 60.0
        self._burst = max(1.0, self._per_second * _BURST_SECS)
        self._tokens = self._burst
        self._at = now

    def available(self, now: float) -> int:
        """Sends allowed now."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = now
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Use up sends that were available."""
        self._tokens -= count

    def wait_secs(self, now: float) -> float:
        """Seconds until one more send is allowed."""
        return 0.0 if self.available(now) else (1.0 - self._tokens) / self._per_second


class Breaker:
    """Stops sending to a destination that fails again and again, then lets single alerts probe it.

    Closed, everything may go. After `FAILURES_TO_OPEN` temporary failures in a row it opens for a pause that
    doubles from probe to probe. A success closes it.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE_SECS
        self._until = 0.0

    @property
    def open(self) -> bool:
        """Whether the destination counts as down."""
        return self._failures >= FAILURES_TO_OPEN

    def allowed(self, now: float, wanted: int, under_way: int) -> int:
        """How many of `wanted` sends may start now: one at a time while it probes."""
        if now < self._until:
            return 0
        if not self.open:
            return wanted
        return 0 if under_way else min(wanted, 1)

    def wait_secs(self, now: float) -> float:
        """Seconds until a send may start."""
        return max(0.0, self._until - now)

    def pause(self, until: float) -> None:
        """Start nothing before `until`, because the destination asked for it."""
        self._until = max(self._until, until)

    def succeeded(self) -> bool:
        """Note that the destination answers; True when it had counted as down."""
        was_open = self.open
        self._failures, self._pause = 0, FIRST_PAUSE_SECS
        return was_open

    def failed(self, now: float) -> bool:
        """Note a temporary failure; True when the destination counts as down from now on."""
        was_open = self.open
        self._failures += 1
        if self.open and now >= self._until:  # attempts begun before the pause do not make it longer
            self._until = now + self._pause
            self._pause = min(LONGEST_PAUSE_SECS, self._pause * 2)
        return self.open and not was_open
