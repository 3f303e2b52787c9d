"""The messages of one source that are held: leases extended, acknowledgements gathered, the rest given back.

A message is held from `take` until `finish` or `give_back`. While it is held, its lease is extended at about half
its length, waiting or not; a message lost to another consumer is only noted, because the ledger's claims keep its
rows from being written twice.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import zlib
from collections.abc import Callable, Sequence

import stamina

from ingestd.errors import IngestdError, Retryable
from ingestd.forever import for_ever
from ingestd.model import Delivery
from ingestd.sources.base import Source
from ingestd.telemetry import occurrences

ACK_BATCH = 500
JITTER = 0.125
"""Part of a lease over which extensions are spread."""


class Holding:
    """See the module. `tasks` run beside the pipeline; `on_freed` is called when a message is held no more."""

    def __init__(
        self, source: Source, on_freed: Callable[[], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._source = source
        self._on_freed = on_freed
        self._clock = clock
        self._held: dict[str, Delivery] = {}
        self._finished: dict[str, None] = {}
        """Ids of messages to acknowledge, in order; those of a call under way are still here."""
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
            self._finished[delivery.message_id] = None
            self._finished_any.set()

    async def give_back(self, delivery: Delivery, delay_secs: float, reason: str) -> None:
        """Let the queue hand the message out again after the delay."""
        current = self._let_go(delivery.message_id)
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
        self._let_go(delivery.message_id)
        occurrences.message_dead_lettered(self._source.name, current.message_id, reason, detail)

    def _let_go(self, message_id: str) -> Delivery | None:
        delivery = self._held.pop(message_id, None)
        self._on_freed()
        return delivery

    # --- tasks ---

    def tasks(self) -> list[asyncio.Task[None]]:
        """Keeping leases and acknowledging, until cancelled."""
        lease_turn = min(self._source.lease_secs / 8, 30.0)
        return [
            asyncio.create_task(for_ever(self.extend_due, "receive", every_secs=lease_turn), name="leases"),
            asyncio.create_task(for_ever(self._acknowledge, "ack"), name="acknowledgements"),
        ]

    async def _acknowledge(self) -> None:
        await self._finished_any.wait()
        await self.acknowledge_finished()

    async def acknowledge_finished(self, timeout_secs: float = 60.0) -> None:
        """Acknowledge what is finished now, many at a time, within about the time given."""
        self._finished_any.clear()
        while self._finished:
            ids = list(itertools.islice(self._finished, ACK_BATCH))
            # an extension may have renewed the receipt since, or the lease may be lost
            batch = [self._held[message_id] for message_id in ids if message_id in self._held]
            try:
                async for attempt in stamina.retry_context(on=Retryable, attempts=None, timeout=timeout_secs):
                    with attempt:
                        await self._source.ack(batch)
            except IngestdError as error:
                # All is committed: when the messages come again, the ledger knows, and they are acknowledged then
                done = batch
                occurrences.ack_failed(self._source.name, len(done), error)
                occurrences.messages_lost(self._source.name, len(done))
            else:
                done = [delivery for delivery in batch if not self._came_again(delivery)]
                occurrences.messages_acked(self._source.name, len(done))
            for delivery in done:
                self._let_go(delivery.message_id)
            for message_id in ids:
                if message_id not in self._held:
                    del self._finished[message_id]

    def _came_again(self, delivery: Delivery) -> bool:
        """Whether a message was handed out again since: the queue knows it by that receipt only."""
        current = self._held.get(delivery.message_id)
        return current is not None and current.received_at != delivery.received_at

    async def extend_due(self) -> None:
        """Extend the leases of which about half has passed."""
        now, lease = self._clock(), self._source.lease_secs
        due = {d.message_id: d for d in self._held.values() if d.lease_until - now < lease * _share_left(d)}
        if not due:
            return
        try:
            extended = await self._source.extend(list(due.values()), self._source.lease_secs)
        except Retryable as error:
            occurrences.extension_failed(self._source.name, len(due), error)  # tried again at the next turn
            return
        # meanwhile a message may have been acknowledged, or handed out again, which brings a newer receipt
        left = {message_id for message_id, asked in due.items() if self._held.get(message_id) is asked}
        for delivery in extended:
            if delivery.message_id in left:
                self._held[delivery.message_id] = delivery
        lost = left - {delivery.message_id for delivery in extended} - self._finished.keys()
        occurrences.leases_extended(self._source.name, len(extended), len(lost))
        for message_id in lost:
            self._let_go(message_id)
        if lost:
            occurrences.messages_lost(self._source.name, len(lost))


def _share_left(delivery: Delivery) -> float:
    """How much of its lease a message has left when it is extended: half or a little more, each message another
    share, so that what was received together does not come due together, again and again."""
    return 0.5 + JITTER * (zlib.crc32(delivery.message_id.encode(errors="replace")) / 2**32)
