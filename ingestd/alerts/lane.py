"""One destination's lane: claim what can be sent at once, send it, write down how it went.

Alerts are claimed under a lease and only as many as may go now, so that a lease never runs out in a queue. A
failure for now is tried again later, by the row's own schedule; a refusal for good is kept, with the reason.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

import msgspec
import stamina

from ingestd import failpoints
from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.pacing import Breaker, Pace
from ingestd.errors import ConfigError, Overloaded, Permanent, Retryable
from ingestd.state import outbox as table
from ingestd.state import windows
from ingestd.state.base import State, Transaction
from ingestd.telemetry import occurrences
from ingestd.telemetry.health import Component, Health

FIRST_BACKOFF_SECS = 2.0
LONGEST_BACKOFF_SECS = 900.0
LEAST_ATTEMPTS = 5
"""An alert is tried so often at least, however old it was when this daemon found it."""
LONGEST_RETRY_AFTER_SECS = 3_600.0
"""A destination that asks for more than this is asked again all the same."""
LEASE_MARGIN_SECS = 30.0
"""A lease is longer than the longest attempt by this: for marking the row, and for clocks that differ."""
POLL_SECS = 5.0
"""How often a lane looks for what other daemons put into the outbox, or left behind."""
_STATE_PAUSE_SECS = 1.0
_MAX_ERROR_CHARS = 1_000


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one destination is sent to."""

    concurrency: int = 4
    per_minute: int = 60
    timeout_secs: float = 10.0
    """Longest attempt; a destination's own time-out should come first, since it can say more."""
    retry_secs: float = 86_400.0
    """How long an alert is tried before it counts as failed."""


class Lane:
    """See the module. `run` ends by being cancelled: nothing new is claimed then, and attempts under way have
    `timeout_secs` to end before they are broken off, so that a reload or a stop repeats no alert."""

    def __init__(
        self,
        state: State,
        destination: Destination,
        settings: LaneSettings,
        owner: Callable[[], str],
        health: Health | None,
        clock: Callable[[], float],
    ) -> None:
        self.name = destination.name
        self.moved = asyncio.Event()
        """Set whenever an attempt has ended."""
        self._state = state
        self._destination = destination
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._component: Component | None = health.component("destination", self.name) if health else None
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._pace = Pace(settings.per_minute, clock())
        self._breaker = Breaker()

    @property
    def down(self) -> bool:
        """The destination has failed too often in a row and is only probed."""
        return self._breaker.open

    def wake(self) -> None:
        """Look for something to send now."""
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        if self._component:
            self._component.ok()
        try:
            while True:
                self._wake.clear()
                try:
                    wait_secs = await self._start_what_may_start()
                except Retryable as error:
                    wait_secs = _STATE_PAUSE_SECS
                    occurrences.retrying("deliver", error, in_secs=wait_secs, destination=self.name)
                except Exception as error:  # noqa: BLE001 - alerts must not silently stop because of one mistake
                    wait_secs = POLL_SECS
                    occurrences.internal_error("deliver", error, destination=self.name)
                try:
                    async with asyncio.timeout(wait_secs):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await self._finish_what_began()

    async def _finish_what_began(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._settings.timeout_secs)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _start_what_may_start(self) -> float:
        """Claim and begin to send; answers after how many seconds to look again, unless woken before."""
        now = self._clock()
        free = min(self._settings.concurrency - len(self._sending), self._pace.available(now))
        limit = self._breaker.allowed(now, free, len(self._sending))
        if limit <= 0:
            return max(self._breaker.wait_secs(now), self._pace.wait_secs(now)) or POLL_SECS
        lease_secs = self._settings.timeout_secs + LEASE_MARGIN_SECS
        claimed, next_due = await self._state.transact(
            partial(self._claim, owner=self._owner(), now=now, lease_secs=lease_secs, limit=limit)
        )
        self._pace.take(len(claimed))
        for row, alert in claimed:
            task = asyncio.create_task(self._send(row, alert), name=f"deliver-{self.name}-{row.alert_id}")
            self._sending.add(task)
            task.add_done_callback(self._ended)
        if len(claimed) == limit:
            return self._pace.wait_secs(now) or POLL_SECS  # the end of an attempt wakes, too
        return POLL_SECS if next_due is None else min(POLL_SECS, max(0.0, next_due - now))

    def _claim(
        self, tx: Transaction, *, owner: str, now: float, lease_secs: float, limit: int
    ) -> tuple[list[tuple[table.Claimed, windows.Window | None]], float | None]:
        rows = table.claim(tx, self.name, owner, now=now, lease_secs=lease_secs, limit=limit)
        return [(row, windows.window(tx, row.alert_id)) for row in rows], table.next_due(tx, self.name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            occurrences.internal_error("deliver", error, destination=self.name)  # its lease runs out
        self.moved.set()
        self._wake.set()

    # --- one alert ---

    async def _send(self, row: table.Claimed, window: windows.Window | None) -> None:
        if window is None:
            await self._give_up(row, Permanent("the alert is no longer in the state", reason="gone"))
            return
        failpoints.hit("outbox.before_send")
        try:
            async with asyncio.timeout(self._settings.timeout_secs + 1.0):
                reference = await self._destination.send(window.alert)
        except Permanent as error:
            self._answered()
            await self._give_up(row, error)
        except Retryable as error:
            await self._try_later(row, error)
        except TimeoutError:
            message = f"{self.name}: no answer within {self._settings.timeout_secs:g} s"
            await self._try_later(row, Retryable(message))
        except ConfigError as error:  # a secret that cannot be read just now
            await self._try_later(row, Retryable(f"{self.name}: {error}"))
        except Exception as error:  # noqa: BLE001 - a destination's mistake must not end the lane
            occurrences.internal_error("deliver", error, destination=self.name)
            await self._try_later(row, Retryable(f"{self.name}: unexpected {type(error).__name__}"))
        else:
            failpoints.hit("outbox.after_send")
            self._answered()
            await self._sent(row, reference)

    async def _sent(self, row: table.Claimed, reference: str) -> None:
        now = self._clock()
        if await self._mark(partial(table.sent, row=row, now=now, reference=reference[:_MAX_ERROR_CHARS])):
            failpoints.hit("outbox.after_sent_mark")
        occurrences.alert_sent(row.alert_id, self.name, waited_secs=now - row.queued_at)

    async def _give_up(self, row: table.Claimed, error: Permanent | Retryable) -> None:
        text = str(error)[:_MAX_ERROR_CHARS]
        await self._mark(partial(table.dead, row=row, now=self._clock(), error=text))
        occurrences.alert_failed(row.alert_id, self.name, error)

    async def _try_later(self, row: table.Claimed, error: Retryable) -> None:
        now = self._clock()
        wait_secs = self._note_failure(error, now, row.attempts)
        too_late = now + wait_secs - row.queued_at > self._settings.retry_secs
        if too_late and row.attempts + 1 >= LEAST_ATTEMPTS:
            await self._give_up(row, error)
            return
        text = str(error)[:_MAX_ERROR_CHARS]
        await self._mark(partial(table.put_back, row=row, due_at=now + wait_secs, error=text))
        occurrences.alert_retried(row.alert_id, self.name, error, in_secs=wait_secs)

    async def _mark(self, change: Callable[[Transaction], bool]) -> bool:
        """Write down how an attempt ended. When that fails, the lease runs out and the alert is sent again."""
        try:
            async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=LEASE_MARGIN_SECS / 2):
                with attempt:
                    return await self._state.transact(change)
        except Retryable as error:
            occurrences.retrying("deliver", error, in_secs=LEASE_MARGIN_SECS, destination=self.name)
        return False

    # --- how the destination is ---

    def _answered(self) -> None:
        self._breaker.succeeded()
        if self._component:
            self._component.ok()

    def _note_failure(self, error: Retryable, now: float, attempts: int) -> float:
        """Tell breaker and health; answers the seconds until this alert is tried again."""
        wait_secs = min(LONGEST_BACKOFF_SECS, FIRST_BACKOFF_SECS * 2.0 ** min(attempts, 20))
        wait_secs *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret
        if error.retry_after is not None:
            asked_secs = min(error.retry_after, LONGEST_RETRY_AFTER_SECS)
            self._breaker.pause(now + asked_secs)
            wait_secs = max(wait_secs, asked_secs)
        if isinstance(error, Overloaded):
            return wait_secs  # it is up, and says how fast it wants to be sent to
        self._breaker.failed(now)
        if self._component and self._breaker.open:
            self._component.failing(error)
        return wait_secs
