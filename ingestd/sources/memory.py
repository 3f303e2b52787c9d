"""A queue in memory: a real source without a server, with knobs for faults.

It keeps the rules of a leased queue (visibility, redelivery, receive counts, dead letters), so that whatever
holds on it holds on a cloud's queue. Tests and `bench/` use it; a configuration may, for trying things out.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from ingestd.config.models import SourceConfig
from ingestd.errors import Retryable
from ingestd.model import Check, Delivery
from ingestd.sources.base import Source
from ingestd.state.base import State


class Config(SourceConfig):
    """A queue that lives and dies with the process."""

    lease_secs: float = 30.0
    """How long a message stays with its receiver."""


class _Message:
    __slots__ = ("attributes", "body", "message_id", "receipt", "received", "sent_at", "visible_at")

    def __init__(self, message_id: str, body: bytes, attributes: dict[str, str], now: float) -> None:
        self.message_id = message_id
        self.body = body
        self.attributes = attributes
        self.sent_at = now
        self.visible_at = now
        self.received = 0
        self.receipt = ""


class MemorySource(Source):
    """See the module. Fault knobs: `fail_next[method] = n` makes the next n calls raise Retryable;
    `deliver_twice` hands each message out twice at once, as at-least-once queues may."""

    lease_limit_secs = float("inf")

    def __init__(self, name: str, *, lease_secs: float = 30.0, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.lease_secs = lease_secs
        self.clock = clock
        self.messages: dict[str, _Message] = {}
        self.dead_letters: list[tuple[Delivery, str, str]] = []
        self.acked: list[str] = []
        self.fail_next: dict[str, int] = {}
        self.deliver_twice = False
        self._ids = itertools.count(1)
        self._receipts = itertools.count(1)
        self._arrived = asyncio.Event()

    def put(self, body: bytes, attributes: dict[str, str] | None = None) -> str:
        """Send a message; its id."""
        message_id = f"m{next(self._ids)}"
        self.messages[message_id] = _Message(message_id, body, attributes or {}, self.clock())
        self._arrived.set()
        return message_id

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`."""
        self._maybe_fail("receive")
        taken = self._take(limit)
        if taken or not wait_secs:
            return taken
        self._arrived.clear()
        try:
            async with asyncio.timeout(wait_secs):
                await self._arrived.wait()
        except TimeoutError:
            return self._take(limit)
        return self._take(limit)

    def _take(self, limit: int) -> list[Delivery]:
        now = self.clock()
        visible = (message for message in self.messages.values() if message.visible_at <= now)
        taken = [self._lease(message, now) for message in itertools.islice(visible, limit)]
        return taken * 2 if self.deliver_twice else taken

    def _lease(self, message: _Message, now: float) -> Delivery:
        message.received += 1
        message.visible_at = now + self.lease_secs
        message.receipt = f"r{next(self._receipts)}"
        return Delivery(
            source=self.name,
            message_id=message.message_id,
            body=message.body,
            attributes=message.attributes,
            receipt=message.receipt,
            received_at=now,
            sent_at=message.sent_at,
            lease_until=message.visible_at,
            receive_count=message.received,
        )

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        self._maybe_fail("extend")
        now = self.clock()
        kept = []
        for delivery in deliveries:
            message = self._mine(delivery)
            if message is not None:
                message.visible_at = now + lease_secs
                kept.append(_with_lease(delivery, message.visible_at))
        return kept

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`. A receipt that was replaced since does not delete the message, as in SQS."""
        self._maybe_fail("ack")
        for delivery in deliveries:
            if self._mine(delivery) is not None:
                del self.messages[delivery.message_id]
                self.acked.append(delivery.message_id)

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        self._maybe_fail("nack")
        for delivery in deliveries:
            message = self._mine(delivery)
            if message is not None:
                message.visible_at = self.clock() + delay_secs
                message.receipt = ""
        self._arrived.set()

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`."""
        self._maybe_fail("dead_letter")
        if self._mine(delivery) is not None:
            self.dead_letters.append((delivery, reason, detail))
            del self.messages[delivery.message_id]

    async def check(self) -> list[Check]:
        """See `Source`."""
        return [Check(what=f"memory queue {self.name}", ok=True)]

    async def depth(self) -> int | None:
        """Messages not yet acknowledged and not leased."""
        now = self.clock()
        return sum(message.visible_at <= now for message in self.messages.values())

    async def close(self) -> None:
        """See `Source`."""
        self._arrived.set()

    def _mine(self, delivery: Delivery) -> _Message | None:
        message = self.messages.get(delivery.message_id)
        return message if message is not None and message.receipt == delivery.receipt else None

    def _maybe_fail(self, method: str) -> None:
        if self.fail_next.get(method, 0) > 0:
            self.fail_next[method] -= 1
            raise Retryable(f"memory queue {self.name}: {method} was told to fail")


def _with_lease(delivery: Delivery, lease_until: float) -> Delivery:
    fields = {name: getattr(delivery, name) for name in Delivery.__struct_fields__}
    return Delivery(**{**fields, "lease_until": lease_until})


def stores(config: Config) -> dict[str, dict[str, Any]]:
    """Files: only this process itself can send a message here."""
    return {"file": {}}


def build(name: str, config: Config, state: State) -> MemorySource:
    """A queue of this name; the state is not needed."""
    return MemorySource(name, lease_secs=config.lease_secs)
