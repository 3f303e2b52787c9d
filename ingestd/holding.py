"""The messages of one source that are held: leases extended, acknowledgements gathered, the rest given back.

A message is held from `take` until `finish` or `give_back`. While it is held, its lease is extended at half its
length, waiting or not; a message lost to another consumer is only noted, because the ledger's claims keep its
rows from being written twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import stamina

from ingestd.errors import Retryable
from ingestd.model import Delivery
from ingestd.sources.base import Source
from ingestd.telemetry import occurrences

ACK_BATCH = 500


class Holding:
    """See the module. Run `keep_leases` and `acknowledge` as tasks beside the pipeline."""

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._held: dict[str, Delivery] = {}
        self._finished: list[str] = []
        self._finished_any = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Hold new messages. One that is already held (handed out twice) only renews its receipt."""
        fresh = []
        for delivery in deliveries:
            if delivery.message_id not in self._held:
                fresh.append(delivery)
            self._held[delivery.message_id] = delivery
        occurrences.messages_received(self._source.name, fresh)
        return fresh

    def finish(self, delivery: Delivery) -> None:
        """All that the message asked for is durable: acknowledge it soon."""
        if delivery.message_id in self._held:
            self._finished.append(delivery.message_id)
            self._finished_any.set()

    async def give_back(self, delivery: Delivery, delay_secs: float, reason: str) -> None:
        """Let the queue hand the message out again after the delay."""
        current = self._held.pop(delivery.message_id, None)
        if current is None:
            return
        occurrences.messages_returned(self._source.name, 1, reason)
        try:
            await self._source.nack([current], delay_secs)
        except Retryable as error:  # it comes back by itself when its lease runs out
            occurrences.retrying("ack", error, in_secs=self._source.lease_secs, source=self._source.name)

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Set the message aside with the reason; on failure it comes back by its lease."""
        current = self._held.get(delivery.message_id)
        if current is None:
            return
        async for attempt in stamina.retry_context(on=Retryable, attempts=5):
            with attempt:
                await self._source.dead_letter(current, reason, detail)
        self._held.pop(delivery.message_id, None)
        occurrences.message_dead_lettered(self._source.name, current.message_id, reason, detail)

    # --- tasks ---

    async def acknowledge(self) -> None:
        """Acknowledge what is finished, many at a time, until cancelled."""
        while True:
            await self._finished_any.wait()
            await self.acknowledge_finished()

    async def acknowledge_finished(self) -> None:
        """Acknowledge what is finished now."""
        self._finished_any.clear()
        while self._finished:
            ids, self._finished = self._finished[:ACK_BATCH], self._finished[ACK_BATCH:]
            # an extension may have renewed the receipt since, or the lease may be lost
            batch = [self._held[message_id] for message_id in ids if message_id in self._held]
            try:
                async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=60.0):
                    with attempt:
                        await self._source.ack(batch)
            except Retryable as error:
                # All is committed: when the messages come again, the ledger knows, and they are acknowledged then
                occurrences.ack_failed(self._source.name, len(batch), error)
            for delivery in batch:
                self._held.pop(delivery.message_id, None)
            occurrences.messages_acked(self._source.name, len(batch))

    async def keep_leases(self) -> None:
        """Extend each lease when half of it has passed, until cancelled."""
        lease_secs = self._source.lease_secs
        while True:
            await asyncio.sleep(min(lease_secs / 8, 30.0))
            due = [d for d in self._held.values() if d.lease_until - self._clock() < lease_secs / 2]
            if due:
                await self._extend(due)

    async def _extend(self, due: list[Delivery]) -> None:
        try:
            extended = await self._source.extend(due, self._source.lease_secs)
        except Retryable as error:
            occurrences.extension_failed(self._source.name, len(due), error)  # tried again at the next turn
            return
        for delivery in extended:
            if delivery.message_id in self._held:
                self._held[delivery.message_id] = delivery
        lost = {d.message_id for d in due} - {d.message_id for d in extended}
        occurrences.leases_extended(self._source.name, len(extended), len(lost))
        for message_id in lost:
            self._held.pop(message_id, None)
        if lost:
            occurrences.messages_lost(self._source.name, len(lost))
