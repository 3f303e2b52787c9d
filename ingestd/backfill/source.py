"""A listing as a source: each object that it names is a message.

What is finished is noted by its position in the listing, so that a backfill that was broken off goes on from there;
what lies behind the position and is finished too, the ledger knows. Nothing in the bucket is moved or marked.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from ingestd.backfill.listing import Entry, Listing
from ingestd.backfill.pace import Pace
from ingestd.backfill.tally import Tally
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Retryable
from ingestd.failpoints import hit
from ingestd.model import Check, Delivery, Identity, ObjectRef
from ingestd.sources.base import Source
from ingestd.state import listings, objects
from ingestd.state.base import State, Transaction
from ingestd.telemetry import occurrences

LEASE_SECS = 3600.0
"""An object is ours as long as we live; the lease only has to be longer than the renewal."""
PAGE = 500
"""Entries looked up in the ledger at once; as many are read ahead."""
SAVE_SECS = 5.0
TELL_SECS = 30.0
REFUSALS = 5
"""A listing that is refused so often one after the other will not be allowed."""
LONGEST_PAUSE_SECS = 60.0
STALE_SECS = 3600.0
"""A listing that nobody has gone on with for so long is begun anew: new objects may lie before its position, and the
ledger makes it cheap."""


class _Open(msgspec.Struct):
    """A message that was handed out."""

    delivery: Delivery
    before: str
    """Position of the entry before it."""
    size: int


class ListingSource(Source):
    """See the module. `listing_id` names the listing in the state; `identify` tells what an object would be found to
    be, where the listing says enough."""

    lease_secs = LEASE_SECS
    lease_limit_secs = float("inf")

    def __init__(
        self,
        name: str,
        listing: Listing,
        state: State,
        *,
        listing_id: str,
        identify: Callable[[ObjectRef], Identity | None],
        tally: Tally,
        objects_per_sec: float | None = None,
        bytes_per_sec: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.tally = tally
        self._listing = listing
        self._state = state
        self._id = listing_id
        self._identify = identify
        self._paces = (Pace(objects_per_sec), Pace(bytes_per_sec))
        self._clock = clock
        self._walk: AsyncIterator[Entry] | None = None
        self._page: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._started = False
        self._stopped = False
        self._ended = False
        self._failures = 0
        self._buffer: deque[tuple[str, Entry]] = deque()
        """Entries not yet handed out, each with the position before it."""
        self._reached = ""
        """Position of the last entry that was looked at."""
        self._open: dict[str, _Open] = {}
        self._delayed: list[tuple[float, str]] = []
        self._something = asyncio.Event()
        self._saved = ""
        self._saved_at = self._told_at = clock()

    # --- receive ---

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. With `wait_secs` 0, waits for the listing, the pace, and what was given back: the answer is
        empty only when nothing is left to hand out."""
        await self._start()
        deadline = self._clock() + wait_secs
        while True:
            self._something.clear()
            await self._keep_account()
            await self._read_ahead()
            found = [] if self._stopped else self._due(limit) or self._fresh(limit)
            if found:
                return found
            if self._stopped or self._all_handed_out or (wait_secs and self._clock() >= deadline):
                return []
            await self._wait(deadline - self._clock() if wait_secs else LONGEST_PAUSE_SECS)

    async def _start(self) -> None:
        if self._started:
            return
        before = self._clock() - STALE_SECS

        def begin(tx: Transaction) -> str:
            listings.sweep(tx, before)
            return listings.position(tx, self._id)

        self._reached = self._saved = await self._state.transact(begin)
        self._started = True
        if self._reached:
            occurrences.backfill_resumed(self.name, self._reached)
        self._counting = asyncio.create_task(self.tally.count(self._listing, self._reached), name="backfill count")

    @property
    def _all_handed_out(self) -> bool:
        return self._ended and not self._buffer and not self._delayed and self._page is None

    async def _read_ahead(self) -> None:
        """Begin to read the next page when there is room; raise what the last one met."""
        if self._page is not None and self._page.done():
            page, self._page = self._page, None
            try:
                page.result()
            except IngestdError as error:
                self._listing_failed(error)
            self._failures = 0
        if self._page is None and not self._ended and len(self._buffer) < PAGE:
            self._page = asyncio.create_task(self._read_page(), name="backfill page")
            self._page.add_done_callback(lambda _: self._something.set())

    def _listing_failed(self, error: IngestdError) -> None:
        self._failures += 1
        refused = isinstance(error, AttemptFailed) and self._failures >= REFUSALS
        if refused or not isinstance(error, Retryable):
            self.tally.failure = str(error)
            raise Permanent(f"the listing cannot be read: {error}", reason="listing_failed") from error
        pause = error.retry_after or min(2.0**self._failures, LONGEST_PAUSE_SECS)
        raise Retryable(str(error), retry_after=pause) from error

    async def _read_page(self) -> None:
        """The next entries that the ledger does not know as done; after a failure the walk begins anew from there."""
        try:
            if self._walk is None:
                self._walk = self._listing.walk(self._reached)
            page: list[Entry] = []
            async for entry in self._walk:
                page.append(entry)
                if len(page) >= PAGE:
                    break
            else:
                self._ended = True
            identities = [self._identify(entry.ref) for entry in page]
            asked = [identity for identity in identities if identity is not None]
            done = await self._state.read(lambda tx: objects.done_among(tx, asked)) if asked else set()
        except BaseException:
            self._walk, self._ended = None, False
            raise
        for entry, identity in zip(page, identities, strict=True):
            if identity in done:
                self.tally.known(entry.ref.size or 0)
            else:
                self._buffer.append((self._reached, entry))
            self._reached = entry.position

    def _due(self, limit: int) -> list[Delivery]:
        """What was given back and is to be tried again now."""
        found: list[Delivery] = []
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now and len(found) < limit:
            _, message_id = heapq.heappop(self._delayed)
            again = self._open.get(message_id)
            if again is not None:
                again.delivery = msgspec.structs.replace(
                    again.delivery,
                    received_at=now,
                    lease_until=now + LEASE_SECS,
                    receive_count=again.delivery.receive_count + 1,
                )
                found.append(again.delivery)
        return found

    def _fresh(self, limit: int) -> list[Delivery]:
        """As many new entries as the pace allows."""
        found: list[Delivery] = []
        while self._buffer and len(found) < limit and not any(pace.wait_secs() for pace in self._paces):
            before, entry = self._buffer.popleft()
            delivery = self._deliver(entry.ref)
            if delivery.message_id in self._open:
                continue  # an inventory may name an object twice
            size = entry.ref.size or 0
            self._open[delivery.message_id] = _Open(delivery, before, size)
            for pace, amount in zip(self._paces, (1, size), strict=True):
                pace.take(amount)
            found.append(delivery)
        return found

    def _deliver(self, ref: ObjectRef) -> Delivery:
        now = self._clock()
        known = {"etag": ref.etag, "size": ref.size, "version": ref.version}
        entry = {"store": ref.store, "bucket": ref.bucket, "key": ref.key}
        entry |= {name: value for name, value in known.items() if value is not None}  # type: ignore[misc]
        return Delivery(
            source=self.name,
            message_id=f"{ref.url}#{ref.etag or ''}",
            body=msgspec.json.encode({"objects": [entry]}),
            received_at=now,
            lease_until=now + LEASE_SECS,
        )

    async def _wait(self, at_most: float) -> None:
        """Until the page is there, the pace allows more, or something given back is due."""
        if self._buffer:
            at_most = min(at_most, max(pace.wait_secs() for pace in self._paces))
        if self._delayed:
            at_most = min(at_most, self._delayed[0][0] - self._clock())
        try:
            async with asyncio.timeout(max(0.001, at_most)):  # wait_for can lose a cancellation in 3.11
                await self._something.wait()
        except TimeoutError:
            return

    # --- what becomes of messages ---

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        until = self._clock() + lease_secs
        return [
            msgspec.structs.replace(delivery, lease_until=until)
            for delivery in deliveries
            if delivery.message_id in self._open
        ]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`. The position is noted every few seconds: what was finished after it, the ledger knows."""
        hit("source.before_ack")
        for delivery in deliveries:
            finished = self._open.pop(delivery.message_id, None)
            if finished is not None:
                self.tally.finished(finished.size)
        await self._keep_account()
        hit("source.after_ack")

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        for delivery in deliveries:
            if delivery.message_id in self._open:
                heapq.heappush(self._delayed, (self._clock() + delay_secs, delivery.message_id))
        self._something.set()

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`. The object stays where it is; the reject says what was wrong with it."""
        if delivery.message_id in self._open:
            self.tally.set_aside += 1
        await self.ack([delivery])

    @property
    def position(self) -> str:
        """Everything up to here is finished."""
        if self._open:
            return next(iter(self._open.values())).before
        return self._buffer[0][0] if self._buffer else self._reached

    async def _keep_account(self) -> None:
        """Note the position and tell of the progress, now and then."""
        now = self._clock()
        if now - self._saved_at >= SAVE_SECS:
            await self._save()
        if now - self._told_at >= TELL_SECS:
            self._told_at = now
            occurrences.backfill_progress(self.name, **self.tally.facts())

    async def _save(self) -> None:
        position, now = self.position, self._clock()
        self._saved_at = now
        if position != self._saved:
            await self._state.transact(lambda tx: listings.reach(tx, self._id, position, now))
            self._saved = position

    # --- the rest ---

    def stop(self) -> None:
        """See `Source`: a slow pace may have it wait for long."""
        self._stopped = True
        self._something.set()

    async def depth(self) -> int | None:
        """See `Source`: known once everything was counted."""
        return self.tally.waiting - len(self._open) if self.tally.is_counted else None

    async def check(self) -> list[Check]:
        """See `Source`: whether there is anything to list."""
        try:
            async for entry in self._listing.walk():
                return [Check(what="list", ok=True, detail=f"the first is {entry.ref.url}")]
        except IngestdError as error:
            return [Check(what="list", ok=False, detail=str(error))]
        return [Check(what="list", ok=True, detail="there is nothing")]

    async def close(self) -> None:
        """See `Source`. A listing that was worked through is forgotten: the next one begins at its start."""
        for task in (self._page, self._counting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._page = self._counting = None
        if not self._started:
            return
        self._started = False
        if self._all_handed_out and not self._open:
            self.tally.is_complete = True
            await self._state.transact(lambda tx: listings.forget(tx, self._id))
        else:
            await self._save()
