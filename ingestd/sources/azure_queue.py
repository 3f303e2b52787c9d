"""An Azure storage queue as a source: of Event Grid's notices about blobs.

The service cannot wait for messages: an empty queue is looked at after a pause, which doubles up to `idle_poll_secs`.
Leases are visibility timeouts; each extension changes the pop receipt, without which a message can be neither
extended nor deleted, so that what is done to one message is done one after the other. A storage queue sets nothing
aside by itself: a message that was handed out too often goes to the poison queue here.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import stamina
from pydantic import Field

from ingestd.cloud import azure
from ingestd.config.azure import AzureConfig
from ingestd.config.models import Seconds, SourceConfig
from ingestd.errors import IngestdError, Permanent, Retryable
from ingestd.failpoints import hit
from ingestd.model import Check, Delivery
from ingestd.sources._azure_deletions import Deletions
from ingestd.sources._azure_letters import poison
from ingestd.sources.base import Source
from ingestd.state.base import State

BATCH = 32
"""Messages per call, which is the service's limit."""
RECEIVERS = 8
"""Calls to receive under way at once, at most."""
CALLS = 32
"""Calls to delete, and as many to extend, under way at once, at most: there is one per message."""
ATTEMPTS = 4
"""Calls to delete one message that fail in passing."""
FIRST_PAUSE_SECS = 0.1
LONGEST_LEASE_SECS = 604_800
"""The service hides a message for seven days at most, and never beyond its expiry."""
SOON_SECS = 30
"""Messages given back for no longer than this are part of what `run --once` finds."""
GONE = frozenset({"MessageNotFound", "PopReceiptMismatch"})
"""Answers about a receipt that say: no longer yours."""
CONTRIBUTOR = "Storage Queue Data Contributor"
"""The role for receiving, extending and deleting: that of a Message Processor may not update a message."""
SENDER = "Storage Queue Data Message Sender"
JITTER = 0.1
"""Part of a lease by which leases differ, so that thousands are not extended at the same moment."""

QueueName = Annotated[str, Field(pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")]


class Config(SourceConfig, AzureConfig):
    """Reads the blobs that a storage queue tells of, by Event Grid's events in either schema."""

    queue: QueueName
    """Name of the queue."""
    poison_queue: QueueName | None = None
    """Queue of the same account for messages that failed for good, each with the reason around it. Without one they
    are only kept in the table `rejects`."""
    lease_secs: Annotated[Seconds, Field(ge=1, le=LONGEST_LEASE_SECS)] = 300
    """How long a message is ours at a time; it is extended at half. The default is five times the usual commit
    interval, so that an ordinary message needs no extension."""
    max_receives: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Times that a message is handed out before it is set aside. Kills, drains and lost leases count, so this is far
    above `max_attempts`."""
    idle_poll_secs: Annotated[Seconds, Field(ge=0.1, le=60)] = 5
    """Longest pause between two looks at an empty queue. Each look is a transaction that is paid for."""
    reader: Literal["fast", "sdk"] = "fast"
    """How blobs are read and messages deleted: `fast` by obstore and without the SDK's machinery, which costs a small
    part of it and leaves to the SDK what is not usual; `sdk` by the SDK alone."""
    append_poll_secs: Annotated[Seconds, Field(ge=0.05, le=3_600)] = 60
    """Time between two looks at an append blob that still grows, such as the `PT1H.json` of diagnostic settings."""
    append_grace_secs: Seconds = 900
    """How long an append blob is followed after the hour in its name and after its last append."""
    append_quiet_secs: Seconds = 3_600
    """How long after its last append an append blob without an hour in its name is taken to go on, the grace
    apart."""


class _Turns:
    """What is under way with one message."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0
        """Callers that are in it or wait."""
        self.replaced: dict[str, str] = {}
        """Receipt → the one that took its place: a caller may not have heard of it yet."""

    def newest(self, receipt: str) -> str:
        """The receipt that counts now."""
        return self.replaced.get(receipt, receipt)


class AzureQueueSource(Source):
    """See the module."""

    lease_limit_secs = math.inf

    def __init__(self, name: str, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.lease_secs = config.lease_secs
        self.max_receives = config.max_receives
        self._config = config
        self._clock = clock
        self._clients = azure.Clients(config.to_account())
        self._deletions = Deletions(self._clients, config.queue, CALLS) if config.reader == "fast" else None
        self._receivers = 1
        self._pause = 0.0
        """Between the last look at a queue that was empty and the next."""
        self._look_at = 0.0
        self._given_back_until = 0.0
        self._calls = asyncio.Semaphore(CALLS)
        self._extensions = asyncio.Semaphore(CALLS)
        """Apart from the others: hundreds of acknowledgements must not be what leases run out behind."""
        self._turns: dict[str, _Turns] = {}
        """Message id → whose turn it is, while something is done to the message."""
        self._dice = random.Random()  # noqa: S311 - spreads leases, guards nothing

    # --- receive ---

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. With `wait_secs` 0, what was given back a moment ago is still waited for."""
        deadline = self._clock() + wait_secs
        while True:
            if wait_secs and not await self._until_next_look(deadline):
                return []
            if received := await self._round(limit):
                self._pause = self._look_at = 0.0
                return received
            self._pause = min(max(FIRST_PAUSE_SECS, 2 * self._pause), self._config.idle_poll_secs)
            self._look_at = self._clock() + self._pause
            if not wait_secs:
                if self._clock() >= self._given_back_until:
                    return []
                await asyncio.sleep(FIRST_PAUSE_SECS)

    async def _until_next_look(self, deadline: float) -> bool:
        """Wait until it is time to look at the queue; False when the deadline is before that."""
        now = self._clock()
        await asyncio.sleep(max(0.0, min(self._look_at, deadline) - now))
        return self._look_at <= deadline

    async def _round(self, limit: int) -> list[Delivery]:
        """Receive by several calls at once, as many as came back full lately."""
        wanted = [min(BATCH, limit - start) for start in range(0, limit, BATCH)][: self._receivers]
        answers = await asyncio.gather(*map(self._receive, wanted), return_exceptions=True)
        received = [delivery for answer in answers if isinstance(answer, list) for delivery in answer]
        failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
        if failed is not None and not received:
            raise failed
        if len(received) == sum(wanted) and limit > BATCH * self._receivers:
            self._receivers = min(2 * self._receivers, RECEIVERS)
        elif len(received) <= sum(wanted) // 2:
            self._receivers = max(1, self._receivers // 2)
        return received

    async def _receive(self, count: int) -> list[Delivery]:
        lease = self._spread(self.lease_secs)

        asked_at = self._clock()
        messages = await self._call(lambda queue: _first_page(queue, count, lease), CONTRIBUTOR)
        return [self._delivery(message, asked_at, lease) for message in messages]

    def _delivery(self, message: Any, now: float, lease: int) -> Delivery:
        inserted: datetime | None = message.inserted_on
        return Delivery(
            source=self.name,
            message_id=message.id,
            body=(message.content or "").encode(errors="replace"),
            receipt=message.pop_receipt,
            received_at=now,
            sent_at=inserted.timestamp() if inserted else None,
            lease_until=now + lease,
            receive_count=int(message.dequeue_count or 1),
        )

    def _spread(self, lease_secs: float) -> int:
        """Whole seconds, a little more than asked for and not the same each time."""
        least = math.ceil(lease_secs)
        return min(least + int(self._dice.uniform(0.0, JITTER * least)), LONGEST_LEASE_SECS)

    # --- what becomes of held messages ---

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        lease = self._spread(lease_secs)
        outcomes = await self._each(deliveries, lambda delivery: self._hide(delivery, lease), self._extensions)
        # one that could not be asked for now is still ours as far as we know: asked for again at the next turn
        kept = [
            delivery if isinstance(outcome, Exception) else outcome
            for delivery, outcome in zip(deliveries, outcomes, strict=True)
            if outcome is not None
        ]
        if deliveries and all(isinstance(outcome, Exception) for outcome in outcomes):
            raise next(outcome for outcome in outcomes if isinstance(outcome, Exception))
        return kept

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        delay = min(math.ceil(delay_secs), LONGEST_LEASE_SECS)
        outcomes = await self._each(deliveries, lambda delivery: self._hide(delivery, delay), self._calls)
        if delay <= SOON_SECS and deliveries:
            self._given_back_until = max(self._given_back_until, self._clock() + delay + 1)
        _raise_first(outcomes)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`."""
        if not deliveries:
            return
        hit("source.before_ack")
        _raise_first(await self._each(deliveries, self._delete, self._calls))
        hit("source.after_ack")

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`."""
        if self._config.poison_queue is not None:
            text = poison(delivery, reason, detail)
            await self._call(lambda queue: queue.send_message(text, time_to_live=-1), SENDER, poisoned=True)
        await self.ack([delivery])

    async def _hide(self, delivery: Delivery, secs: int) -> Delivery | None:
        """Change when the message is seen again; the delivery with its new receipt, None when it is not ours."""
        asked_at = self._clock()
        turns = self._turns[delivery.message_id]
        receipt = turns.newest(delivery.receipt)
        updated = await self._unless_gone(
            lambda queue: queue.update_message(delivery.message_id, receipt, visibility_timeout=secs)
        )
        if updated is None:
            return None
        turns.replaced[delivery.receipt] = turns.replaced[receipt] = updated.pop_receipt
        return msgspec.structs.replace(delivery, receipt=updated.pop_receipt, lease_until=asked_at + secs)

    async def _delete(self, delivery: Delivery) -> Delivery:
        """Tried again by itself: of many messages always one fails when a service has its bad moments, and the caller
        can only repeat all of them."""
        receipt = self._turns[delivery.message_id].newest(delivery.receipt)
        if self._deletions is not None and await self._deletions.delete(delivery.message_id, receipt):
            return delivery

        def deletion(queue: Any) -> Awaitable[Any]:
            return queue.delete_message(delivery.message_id, receipt)  # type: ignore[no-any-return]

        try:
            await self._unless_gone(deletion)
        except Retryable as error:
            if not _in_passing(error):
                raise
            async for attempt in stamina.retry_context(  # made for what failed only: it has a cost
                on=_in_passing, attempts=ATTEMPTS - 1, timeout=None, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
            ):
                with attempt:
                    await self._unless_gone(deletion)
        return delivery

    async def _unless_gone(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """The answer; None when the message is no longer ours."""
        try:
            return await self._call(call, CONTRIBUTOR)
        except Retryable as error:
            if azure.code_of(error.__cause__ or error) in GONE:
                return None
            raise

    async def _each(
        self,
        deliveries: Sequence[Delivery],
        act: Callable[[Delivery], Awaitable[Delivery | None]],
        calls: asyncio.Semaphore,
    ) -> list[Delivery | Exception | None]:
        """Do it to each message, many at once, one after the other for the same message; what came of each."""

        async def one(delivery: Delivery) -> Delivery | None:
            async with self._turns[delivery.message_id].lock, calls:
                return await act(delivery)

        for delivery in deliveries:
            self._turns.setdefault(delivery.message_id, _Turns()).wanted += 1
        try:
            outcomes = await asyncio.gather(*map(one, deliveries), return_exceptions=True)
        finally:
            for delivery in deliveries:
                turns = self._turns[delivery.message_id]
                turns.wanted -= 1
                if not turns.wanted:
                    del self._turns[delivery.message_id]
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        return outcomes  # type: ignore[return-value] # what is no Exception was raised

    # --- the rest ---

    async def depth(self) -> int | None:
        """Messages in the queue, roughly, those that are held included."""
        properties = await self._call(lambda queue: queue.get_queue_properties(), CONTRIBUTOR)
        return int(properties.approximate_message_count or 0)

    async def check(self) -> list[Check]:
        """See `Source`. Each right is tried with what the service refuses after it looked at the role."""
        queue = self._config.queue
        nobody = "00000000-0000-0000-0000-000000000000"
        checks = [
            await self._try(f"peek at queue {queue}", lambda q: q.peek_messages(max_messages=1), CONTRIBUTOR),
            await self._try(f"receive from queue {queue}", lambda q: _first_page(q, BATCH + 1, 1), CONTRIBUTOR),
            await self._try(
                f"update messages of queue {queue}",
                lambda q: q.update_message(nobody, "doctor", visibility_timeout=0),
                CONTRIBUTOR,
            ),
            await self._try(
                f"delete messages of queue {queue}", lambda q: q.delete_message(nobody, "doctor"), CONTRIBUTOR
            ),
        ]
        if self._config.poison_queue is not None:
            what = f"send to queue {self._config.poison_queue}"
            checks.append(await self._try(what, _send_nothing, SENDER, poisoned=True))
        return checks

    async def _try(
        self, what: str, call: Callable[[Any], Awaitable[Any]], role: str, *, poisoned: bool = False
    ) -> Check:
        try:
            await self._call(call, role, poisoned=poisoned)
        except IngestdError as error:
            cause = error.__cause__
            if isinstance(error, Permanent) or cause is None:
                return Check(what=what, ok=False, detail=str(error))
            if azure.is_denied(cause):
                return Check(what=what, ok=False, detail=str(error), missing_permission=role)
            if isinstance(cause, Exception) and azure.common_failure(cause, what) is not None:
                return Check(what=what, ok=False, detail=str(error))
        return Check(what=what, ok=True)

    async def close(self) -> None:
        """See `Source`."""
        if self._deletions is not None:
            await self._deletions.close()
        await self._clients.close()

    async def _call(self, call: Callable[[Any], Awaitable[Any]], role: str, *, poisoned: bool = False) -> Any:
        """One request about the queue, or the poison queue. Raises `Retryable` or `Permanent`."""
        name = self._config.poison_queue if poisoned else self._config.queue
        assert name is not None, "nothing is set aside without a queue for it"
        what = f"queue {name}"
        queue = await self._clients.queue(name)
        try:
            return await call(queue)
        except Exception as error:
            if azure.code_of(error) in {"QueueNotFound", "QueueBeingDeleted", "QueueDisabled"}:
                raise Permanent(f"{what}: does not exist in this account", reason="no_queue") from error
            why = azure.failure(error, role, what)
            if isinstance(why, Retryable) and why.retry_after is not None:
                await self._clients.refused()
            raise why from error


async def _first_page(queue: Any, count: int, lease: int) -> list[Any]:
    """The messages of one request."""
    async for page in queue.receive_messages(messages_per_page=count, visibility_timeout=lease).by_page():
        return [message async for message in page]
    return []


async def _send_nothing(queue: Any) -> None:
    """A message that would expire before it is sent: refused, after the role was looked at."""
    await queue.send_message("doctor", visibility_timeout=LONGEST_LEASE_SECS, time_to_live=1)


def _in_passing(error: Exception) -> bool:
    return isinstance(error, Retryable) and error.retry_after is None


def _raise_first(outcomes: Sequence[object]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def stores(config: Config) -> dict[str, dict[str, Any]]:
    """The blobs that the notices name are read as the queue is."""
    following = {
        "poll_secs": config.append_poll_secs,
        "grace_secs": config.append_grace_secs,
        "quiet_secs": config.append_quiet_secs,
    }
    return {"az": {"account": config.to_account(), "following": following, "reader": config.reader}}


def build(name: str, config: Config, state: State) -> AzureQueueSource:
    """The source for this queue; nothing is sent before the first `receive`. Raises `ConfigError` without the SDK."""
    azure.require_sdk()
    return AzureQueueSource(name, config)
