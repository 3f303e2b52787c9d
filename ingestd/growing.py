"""Objects that are still appended to, as messages: each is delivered again when it is time to look at it again.

The message that announced such an object is acknowledged after the first commit. From then on a row of the ledger
says where the object is and when it is due, and this source hands it out beside the messages of the queue, so that a
look is leased, tried again, counted and rejected as every message is. After the last look the row is gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import msgspec

from ingestd.errors import Retryable
from ingestd.ledger import Ledger
from ingestd.model import Check, Delivery
from ingestd.sources.base import Source
from ingestd.telemetry import occurrences

LEASE_SECS = 60.0
"""How long nobody else looks at an object that was handed out; extended like other leases."""
ASK_SECS = 0.5
"""Shortest time between two questions to the ledger."""
SET_ASIDE_SECS = 3600.0
"""How long an object that failed for good is left alone: its message is gone, so this row alone knows of it."""
_PREFIX = "growing:"


class GrowingSource(Source):
    """Another source, with the objects of `ledger` that grow."""

    def __init__(self, source: Source, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._ledger = ledger
        self._clock = clock
        self._ask_at = 0.0
        self.name = source.name
        self.lease_secs = source.lease_secs
        self.lease_limit_secs = source.lease_limit_secs
        self.max_receives = source.max_receives

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`."""
        due = await self._due(limit) if not wait_secs or self._clock() >= self._ask_at else []
        if len(due) == limit:
            return due
        try:
            return due + await self._source.receive(limit - len(due), 0.0 if due else wait_secs)
        except Retryable:
            if due:  # these are taken; the queue is asked again at once, and tells of its trouble then
                return due
            raise

    async def _due(self, limit: int) -> list[Delivery]:
        now = self._clock()
        hold_secs = max(LEASE_SECS, self.lease_secs)
        found = await self._ledger.due(self.name, limit, hold_secs)
        self._ask_at = now if len(found) == limit else now + ASK_SECS
        return [
            Delivery(
                source=self.name,
                message_id=_PREFIX + one.ref.url,
                body=json.dumps({"objects": [_entry(one.ref.store, one.ref.bucket, one.ref.key)]}).encode(),
                receipt=one.ref.url,
                received_at=now,
                lease_until=now + hold_secs,
                # looks that only found it busy count as well, and nothing else remembers an object that is given up
                receive_count=min(one.looks, self.max_receives or one.looks),
            )
            for one in found
        ]

    def stop(self) -> None:
        """See `Source`."""
        self._source.stop()

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        growing, messages = _parted(deliveries)
        held = await self._extend_growing(growing, max(LEASE_SECS, lease_secs)) if growing else []
        return held + (await self._source.extend(messages, lease_secs) if messages else [])

    async def _extend_growing(self, growing: list[Delivery], hold_secs: float) -> list[Delivery]:
        """Answers them as they are when the ledger cannot be asked: the queue's fresh receipts must not be lost by
        that, and their own leases are tried again at the next turn."""
        until = self._clock() + hold_secs
        try:
            await self._ledger.due_later(self.name, [one.receipt for one in growing], hold_secs)
        except Retryable as error:
            occurrences.extension_failed(self.name, len(growing), error)
            return growing
        return [msgspec.structs.replace(one, lease_until=until) for one in growing]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`."""
        growing, messages = _parted(deliveries)
        if growing:
            await self._ledger.looked(self.name, [one.receipt for one in growing])
        if messages:
            await self._source.ack(messages)

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        growing, messages = _parted(deliveries)
        if growing:
            await self._ledger.due_later(self.name, [one.receipt for one in growing], delay_secs)
        if messages:
            await self._source.nack(messages, delay_secs)

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`. An object has no message to be set aside: the reject tells of it, and it is looked at again
        much later, as long as it is there."""
        if not delivery.message_id.startswith(_PREFIX):
            await self._source.dead_letter(delivery, reason, detail)
        elif reason == "not_found":
            await self._ledger.looked(self.name, [delivery.receipt], give_up=True)
        else:
            await self._ledger.due_later(self.name, [delivery.receipt], SET_ASIDE_SECS)
            await self._ledger.forget_message(self.name, delivery.message_id)

    async def check(self) -> list[Check]:
        """See `Source`."""
        return await self._source.check()

    async def depth(self) -> int | None:
        """See `Source`."""
        return await self._source.depth()

    async def close(self) -> None:
        """See `Source`."""
        await self._source.close()


def _entry(store: str, bucket: str, key: str) -> dict[str, str]:
    return {"store": store, "bucket": bucket, "key": key}


def _parted(deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """Objects that grow, and messages of the queue."""
    growing = [one for one in deliveries if one.message_id.startswith(_PREFIX)]
    return growing, [one for one in deliveries if not one.message_id.startswith(_PREFIX)]
