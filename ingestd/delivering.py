"""Alerts and their way out: the alert state, and the outbox with the destinations of the configuration in force."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ingestd import assembly
from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.outbox import Outbox
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing
from ingestd.config.models import Root
from ingestd.ledger import Ledger
from ingestd.state.base import State
from ingestd.telemetry import catalogue, occurrences
from ingestd.telemetry.health import Health


class Delivering:
    """`alerts` stays the same for the daemon's life; `replace` changes where they go."""

    def __init__(self, state: State, ledger: Ledger, health: Health) -> None:
        self.alerts = Alerts(state, Routing(), on_due=self._wake)
        self._state = state
        self._ledger = ledger
        self._health = health
        self._destinations: Mapping[str, Destination] = {}
        self._outbox: Outbox | None = None
        self._task: asyncio.Task[None] | None = None

    def build(self, root: Root) -> dict[str, Destination]:
        """The destinations of a configuration, not yet sent to. Raises `ConfigError` when one cannot be built."""
        return {name: assembly.destination(name, root) for name in root.destinations}

    async def replace(self, root: Root, destinations: Mapping[str, Destination]) -> None:
        """Send to these from now on, once what is on its way to the others has arrived, or had its time."""
        await self.close()
        for name in self._destinations.keys() - destinations.keys():
            self._health.forget("destination", name)
            catalogue.forget(destination=name)
        for name in destinations:
            catalogue.expect(destination=name)
        self._destinations = destinations
        lanes = {name: assembly.lane_settings(name, root) for name in destinations}
        self._outbox = Outbox(self._state, destinations, lanes, epoch=lambda: self._ledger.epoch, health=self._health)
        self.alerts.routing = Routing.from_configs(root.destinations)
        self.alerts.max_per_hour = root.alerts.max_per_hour
        self._task = asyncio.create_task(self._outbox.run(), name="outbox")
        self._task.add_done_callback(_tell_of_crash)

    async def drain(self, deadline_secs: float) -> None:
        """Send what is due and can be sent."""
        if self._outbox is not None:
            await self._outbox.drain(deadline_secs)

    async def close(self) -> None:
        """Let what is on its way arrive, or have its time; give leases back; let go of connections. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for destination in self._destinations.values():
            await destination.close()

    def _wake(self) -> None:
        if self._outbox is not None:
            self._outbox.wake()


def _tell_of_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        occurrences.internal_error("deliver", error)
