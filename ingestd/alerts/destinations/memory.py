"""Alerts in memory, with knobs for faults: for tests, and for trying a configuration out."""

from __future__ import annotations

import asyncio
from collections import deque

from ingestd.alerts.destinations.base import Destination
from ingestd.config.models import DestinationConfig
from ingestd.errors import Permanent, Retryable
from ingestd.model import Alert, Check


class Config(DestinationConfig):
    """Alerts are kept in the process and gone with it."""

    per_minute: int = 60_000
    exactly_once: bool = True
    """Whether a repeat of an alert is recognised by its id."""


class MemoryDestination(Destination):
    """See the module. `received` holds what arrived, repeats included where they are not recognised."""

    def __init__(self, name: str, *, exactly_once: bool = True) -> None:
        self.name = name
        self.exactly_once = exactly_once
        self.received: list[Alert] = []
        self.attempts: list[str] = []
        """Alert ids in the order of the attempts, failed ones too."""
        self.fail_next: deque[Retryable | Permanent] = deque()
        """Errors of the next attempts, one each; nothing arrives."""
        self.lose_answers = 0
        """So many next attempts arrive, but the sender gets an error."""
        self.down = False
        """Every attempt fails."""
        self.open = asyncio.Event()
        """Cleared, attempts hang until it is set."""
        self.open.set()
        self.closed = False

    async def send(self, alert: Alert) -> str:
        """See `Destination`."""
        self.attempts.append(alert.alert_id)
        await self.open.wait()
        if self.down:
            raise Retryable(f"{self.name}: down, as told")
        if self.fail_next:
            raise self.fail_next.popleft()
        if not (self.exactly_once and any(known.alert_id == alert.alert_id for known in self.received)):
            self.received.append(alert)
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise Retryable(f"{self.name}: the answer was lost, as told")
        return f"memory:{alert.alert_id}"

    async def check(self) -> list[Check]:
        """See `Destination`."""
        return [Check(what=f"destination {self.name}", ok=not self.down, detail="in memory")]

    async def close(self) -> None:
        """See `Destination`."""
        self.closed = True


def build(name: str, config: Config) -> MemoryDestination:
    """See `base`."""
    return MemoryDestination(name, exactly_once=config.exactly_once)
