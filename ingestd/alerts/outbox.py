"""Delivers what is in the outbox: one lane per destination, so that none waits for another.

A crash leaves leases behind, which run out or are freed as soon as their owner is known to be gone; those alerts
are sent again with the same id: at most one repeat per crash, and none where the destination is `exactly_once`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.lane import POLL_SECS, Lane, LaneSettings
from ingestd.errors import Retryable
from ingestd.state import outbox as table
from ingestd.state.base import State
from ingestd.telemetry import catalogue, occurrences
from ingestd.telemetry.health import Health

_DRAIN_LOOK_SECS = 0.5


class Outbox:
    """See the module. Run `run` as a task; it ends by being cancelled."""

    def __init__(
        self,
        state: State,
        destinations: Mapping[str, Destination],
        settings: Mapping[str, LaneSettings] | None = None,
        *,
        epoch: Callable[[], int],
        health: Health | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`epoch` answers the daemon's registration in the state, which may change while it runs: leases are free
        once their epoch is registered no more."""
        settings = settings or {}
        self._state = state
        self._epoch = epoch
        self._clock = clock
        self._lanes = [
            Lane(state, destination, settings.get(name, LaneSettings()), self._owner, health, clock)
            for name, destination in destinations.items()
        ]

    def _owner(self) -> str:
        return str(self._epoch())

    def wake(self) -> None:
        """Something is due: look now. Cheap; call it in the event loop."""
        for lane in self._lanes:
            lane.wake()

    async def run(self) -> None:
        """Deliver until cancelled. Then attempts under way get their `timeout_secs`, and leases are given back."""
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(lane.run(), name=f"deliver-{lane.name}")
                group.create_task(self._tend(), name="deliver-tend")
        finally:
            await asyncio.shield(self._give_back())

    async def drain(self, deadline_secs: float) -> int:
        """Wait until nothing that can be sent within the deadline is left; answers how many alerts are, those for
        destinations that are down among them. They stay in the outbox for the next start. `run` must be running."""
        until = self._clock() + deadline_secs
        self.wake()
        while True:
            left, sendable = await self._left(until)
            seconds = until - self._clock()
            if sendable == 0 or seconds <= 0:
                return left
            moved = [asyncio.ensure_future(lane.moved.wait()) for lane in self._lanes]
            await asyncio.wait(moved, timeout=min(seconds, _DRAIN_LOOK_SECS), return_when=asyncio.FIRST_COMPLETED)
            for waiter in moved:
                waiter.cancel()
            for lane in self._lanes:
                lane.moved.clear()

    async def _left(self, until: float) -> tuple[int, int]:
        """Alerts due until then, and how many of them are for destinations that are not down."""
        try:
            waiting = await self._state.read(partial(table.waiting, until=until))
        except Retryable:
            return 1, 1  # unknown: look again
        left = {lane: waiting.get(lane.name, 0) for lane in self._lanes}
        return sum(left.values()), sum(count for lane, count in left.items() if not lane.down)

    async def _tend(self) -> None:
        """Free the leases of the dead, show what waits, bury what waits for a destination that is gone."""
        while True:
            try:
                await self._tend_once()
            except Retryable as error:
                occurrences.retrying("deliver", error, in_secs=POLL_SECS)
            except Exception as error:  # noqa: BLE001 - alerts must not silently stop because of one mistake
                occurrences.internal_error("deliver", error)
            await asyncio.sleep(POLL_SECS)

    async def _tend_once(self) -> None:
        orphaned, waiting = await self._state.read(lambda tx: (table.orphaned(tx), table.waiting(tx)))
        if orphaned:
            await self._state.transact(lambda tx: table.release(tx, orphaned))
            self.wake()
        names = [lane.name for lane in self._lanes]
        for name in names:
            catalogue.ALERTS_WAITING.labels(destination=name).set(waiting.get(name, 0))
        if set(waiting) - set(names):
            await self._bury_orphans(names)

    async def _bury_orphans(self, names: list[str]) -> None:
        now = self._clock()
        before = now - LaneSettings().retry_secs
        buried = await self._state.transact(
            partial(table.bury_orphans, destinations=names, queued_before=before, now=now)
        )
        for alert_id, name in buried:
            occurrences.alert_failed(alert_id, name, "no destination of this name is configured")

    async def _give_back(self) -> None:
        owner = self._owner()
        try:
            await self._state.transact(lambda tx: table.release(tx, [owner]))
        except Retryable as error:
            occurrences.retrying("deliver", error, in_secs=0.0)  # the leases run out by themselves
