"""The path of one source, from a message to its acknowledgement, top to bottom.

    receive ── Delivery ──► deliver ── ObjectRef ──► read ── ChunkResult ──► keep ──► committed ──► acknowledge

Data flows one way and every `await` is back-pressure: nothing is received that cannot be read soon.
What becomes of a message that fails stands in `_failed`; how messages are held, in `ingestd.holding`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from ingestd import notices, rejects
from ingestd.alerts.recorder import Alerts
from ingestd.config.models import SourceConfig
from ingestd.errors import AttemptFailed, Permanent, Retryable, Superseded
from ingestd.holding import Holding
from ingestd.lake.writer import Writer
from ingestd.ledger import Claim, Ledger
from ingestd.model import ChunkResult, Delivery, Identity, ObjectDone, ObjectRef, ObjectTask, Route
from ingestd.notices.base import Unknown
from ingestd.routes import route_for
from ingestd.sources.base import Source
from ingestd.stores.base import OpenObject, Store
from ingestd.telemetry import occurrences
from ingestd.telemetry.health import Component, Health
from ingestd.workers.pool import Pool

RECEIVE_WAIT_SECS = 1.0
"""How long an empty queue is waited on before what was read so far is committed."""
BUSY_SECS = 2.0
"""When to look again at an object that another daemon is reading."""
LONGEST_BACK_OFF_SECS = 300.0
FINISHED_REASONS = frozenset({"not_found"})
"""Permanent failures that leave nothing to do: the reject is written and the message acknowledged."""

_task_numbers = itertools.count(1)


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipelines of all sources share."""

    stores: Mapping[str, Store]
    ledger: Ledger
    pool: Pool
    writer: Writer
    committing: dict[str, asyncio.Future[None]] = {}
    """Identity → commit of the objects under way in this process, for messages that name the same object."""


class Keeper:
    """Takes what children return: first into the alert state, then into the lake."""

    def __init__(self, alerts: Alerts, writer: Writer, health: Health) -> None:
        self._alerts = alerts
        self._writer = writer
        self._health = health

    async def keep(self, result: ChunkResult) -> None:
        """A row in the lake implies that its alert is durable; hence the order."""
        alert_ids = await self._alerts.record(result.matches)
        await self._writer.add(result, alert_ids)
        self._health.moved()
        occurrences.chunk_returned(result)


class Pipeline:
    """One source at work: `run` until `stop`, or with `once` until nothing is left; then `drain`."""

    def __init__(
        self, source: Source, config: SourceConfig, shared: Shared, component: Component, *, reading_limit: int
    ) -> None:
        self.source = source
        self._component = component
        self._config = config
        self._routes = config.to_routes()
        self._shared = shared
        self._holding = Holding(source)
        self._reading_limit = reading_limit
        self._reading = 0
        self._room = asyncio.Event()
        self._stopping = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()

    # --- the path -------------------------------------------------------------------------------------------

    async def run(self, *, once: bool = False) -> None:
        """Receive and deliver until stopped; leases are kept and messages acknowledged beside."""
        beside = [asyncio.create_task(self._holding.keep_leases()), asyncio.create_task(self._holding.acknowledge())]
        try:
            while not self._stopping.is_set():
                received = await self._receive(wait_secs=0.0 if once else RECEIVE_WAIT_SECS)
                for delivery in self._holding.take(received):
                    self._start(delivery)
                if received:
                    continue
                if not self._reading:
                    self._shared.writer.request_commit("idle")
                if once and not await self._some_delivered():
                    break
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _receive(self, wait_secs: float) -> list[Delivery]:
        """As many messages as can be read soon; waits while that is none."""
        while (room := self._room_for_messages()) <= 0 and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()
        if self._stopping.is_set():
            return []
        try:
            received = await self.source.receive(room, wait_secs)
            self._component.ok()
            return received
        except Retryable as error:
            self._component.failing(error)
            pause = error.retry_after or RECEIVE_WAIT_SECS
            occurrences.receive_failed(self.source.name, error, in_secs=pause)
            await asyncio.sleep(pause)
            return []

    async def _some_delivered(self) -> bool:
        """Wait until one more message was read or finished; False when there are none."""
        self._room.clear()
        if self._reading:
            await self._room.wait()
        elif self._deliveries:
            await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)
        else:
            return False
        return True

    async def _deliver(self, delivery: Delivery) -> None:
        """One message, from its notice until everything that it names is committed."""
        with self._reading_slot():
            notice = notices.parse(delivery.body, delivery.attributes)
            if isinstance(notice, Unknown):
                occurrences.message_unknown(self.source.name, delivery.message_id, notice.detail)
                raise Permanent(notice.detail, reason="unknown_message")
            for ignored in notice.ignored:
                occurrences.notice_ignored(self.source.name, ignored.reason, ignored.key)
            commits = await asyncio.gather(*(self._object(ref) for ref in notice.objects), return_exceptions=True)
        for committed in commits:
            if isinstance(committed, BaseException):
                raise committed
            if committed is not None:
                await asyncio.shield(committed)

    async def _object(self, ref: ObjectRef) -> asyncio.Future[None] | None:
        """Open one object, claim it, and read it; the future of its commit, None when there is nothing to do."""
        route = route_for(self._routes, ref.key)
        if route is None:
            occurrences.notice_ignored(self.source.name, "no_route", ref.key)
            return None
        async with await self._open(ref) as opened:
            under_way = self._shared.committing.get(opened.identity)
            if under_way is not None:
                occurrences.object_waiting(self.source.name, ref.url)
                return under_way
            claim = await self._claim(opened)
            return None if claim is None else await self._read(opened, route, claim)

    async def _read(self, opened: OpenObject, route: Route, claim: Claim) -> asyncio.Future[None]:
        """Send the object's bytes to a child; what it returns goes through `Keeper.keep`."""
        identity, started = opened.identity, time.monotonic()
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shared.committing[identity] = committed
        try:
            done = await self._shared.pool.run(self._task(opened, route, claim), self._reader(opened))
        except BaseException as error:
            self._resolve(identity, committed, error)
            await self._shared.writer.leave(identity)
            await self._shared.ledger.release(identity)
            raise
        seconds = time.monotonic() - started
        occurrences.object_read(
            self.source.name, opened.ref.url, done, compressed_bytes=opened.size or 0, seconds=seconds
        )
        in_lake = self._shared.writer.finish(identity, done)
        in_lake.add_done_callback(lambda future: self._committed(opened.ref.url, identity, done, committed, future))
        return committed

    # --- around the path ------------------------------------------------------------------------------------

    def _start(self, delivery: Delivery) -> None:
        self._reading += 1
        task = asyncio.create_task(self._deliver_or_fail(delivery))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver_or_fail(self, delivery: Delivery) -> None:
        try:
            await self._deliver(delivery)
        except asyncio.CancelledError:
            await self._holding.give_back(delivery, 0.0, "drain")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the message must neither vanish nor stop others
            await self._failed(delivery, error)
        else:
            self._holding.finish(delivery)

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        """Decide by the error's class: reject, count an attempt, or just try again later."""
        try:
            if isinstance(error, Permanent):
                await self._quarantine(delivery, error.reason, str(error))
            elif isinstance(error, Retryable) and not isinstance(error, AttemptFailed):
                delay = error.retry_after or _back_off(delivery.receive_count)
                await self._holding.give_back(delivery, delay, str(error))
            else:
                await self._attempt_failed(delivery, error)
        except Retryable as again:
            await self._holding.give_back(
                delivery, again.retry_after or _back_off(delivery.receive_count), str(again)
            )

    async def _attempt_failed(self, delivery: Delivery, error: Exception) -> None:
        reason = error.reason if isinstance(error, AttemptFailed) else "internal_error"
        attempts = await self._shared.ledger.message_failed(self.source.name, delivery.message_id, reason)
        if isinstance(error, AttemptFailed):
            occurrences.object_failed(self.source.name, delivery.message_id, "open", error, attempts=attempts)
        else:
            occurrences.internal_error("open", error, source=self.source.name, message=delivery.message_id)
        if attempts >= self._config.max_attempts:
            await self._quarantine(delivery, reason, str(error))
        else:
            await self._holding.give_back(delivery, _back_off(attempts), reason)

    async def _quarantine(self, delivery: Delivery, reason: str, detail: str) -> None:
        """A row in `rejects`, committed once; then the message is set aside or acknowledged."""
        identity = Identity(f"message:{self.source.name}/{delivery.message_id}")
        claim = await self._shared.ledger.claim(identity, source=self.source.name, url=identity)
        if claim.status == "busy":
            raise Retryable(f"{identity}: another daemon is setting it aside", retry_after=BUSY_SECS)
        if claim.status == "granted":
            await self._shared.writer.add(rejects.of_message(delivery, identity, reason, detail), [])
            self._shared.writer.request_commit("reject")
            await self._shared.writer.finish(identity, rejects.DONE)
        if reason in FINISHED_REASONS or (reason == "unknown_message" and self._config.on_unknown == "ack"):
            self._holding.finish(delivery)
        else:
            await self._holding.dead_letter(delivery, reason, detail)

    async def _open(self, ref: ObjectRef) -> OpenObject:
        store = self._store(ref)
        if store.objects_grow:
            ref = msgspec.structs.replace(ref, growth=await self._shared.ledger.growth(ref.url))
        try:
            return await store.open(ref)
        except Superseded:
            occurrences.object_superseded(self.source.name, ref.url)
            return await store.open(msgspec.structs.replace(ref, etag=None, version=None, size=None))

    def _store(self, ref: ObjectRef) -> Store:
        store = self._shared.stores.get(ref.store)
        if store is None:
            raise Permanent(f"{ref.url}: no store reads {ref.store}://", reason="unknown_store")
        return store

    async def _claim(self, opened: OpenObject) -> Claim | None:
        """None when the object is committed already."""
        claim = await self._shared.ledger.claim(
            opened.identity,
            source=self.source.name,
            url=opened.ref.url,
            may_grow=self._store(opened.ref).objects_grow,
            grown_from=opened.grown_from,
        )
        if claim.status == "done":
            occurrences.object_known(self.source.name, opened.ref.url)
            return None
        if claim.status == "busy":
            occurrences.object_waiting(self.source.name, opened.ref.url)
            raise Retryable(f"{opened.ref.url}: another daemon is reading it", retry_after=BUSY_SECS)
        return claim

    def _task(self, opened: OpenObject, route: Route, claim: Claim) -> ObjectTask:
        if claim.framing is not None:  # a re-read has to count alike
            framing = msgspec.structs.replace(route.framing, name=claim.framing)
            route = msgspec.structs.replace(route, framing=framing)
        return ObjectTask(
            task=next(_task_numbers),
            identity=opened.identity,
            source=self.source.name,
            label=self._config.label or self.source.name,
            origin=opened.origin,
            route=route,
            skip=claim.skip,
        )

    def _reader(self, opened: OpenObject) -> Callable[[], AsyncIterator[bytes]]:
        """Reads the object from its start, as often as children die over it."""
        first = True

        async def read() -> AsyncIterator[bytes]:
            nonlocal first
            if first:
                first = False
                async for piece in opened.chunks():
                    yield piece
                return
            async with await self._store(opened.ref).open(opened.ref) as again:
                if again.identity != opened.identity:
                    raise Superseded(f"{opened.ref.url}: overwritten while it was read")
                async for piece in again.chunks():
                    yield piece

        return read

    def _committed(
        self,
        url: str,
        identity: Identity,
        done: ObjectDone,
        committed: asyncio.Future[None],
        in_lake: asyncio.Future[None],
    ) -> None:
        error = asyncio.CancelledError() if in_lake.cancelled() else in_lake.exception()
        self._resolve(identity, committed, error)
        if error is None:
            occurrences.object_committed(self.source.name, url, done.records)

    def _resolve(self, identity: Identity, committed: asyncio.Future[None], error: BaseException | None) -> None:
        del self._shared.committing[identity]
        if isinstance(error, asyncio.CancelledError):
            committed.cancel()
        elif error is not None:
            committed.set_exception(error)
            committed.exception()  # nobody may be waiting: that is no news to the loop
        else:
            committed.set_result(None)

    @contextmanager
    def _reading_slot(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._reading -= 1
            self._room.set()

    def _room_for_messages(self) -> int:
        return min(self._reading_limit - self._reading, self._config.max_held - len(self._holding))

    def facts(self) -> dict[str, int]:
        """For `/status`."""
        return {"held": len(self._holding), "reading": self._reading}

    # --- stopping -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Receive nothing more."""
        self._stopping.set()
        self._room.set()

    async def drain(self, deadline: float) -> int:
        """Finish what was begun until `deadline` (monotonic), give the rest back; how many were given back."""
        while self._reading and time.monotonic() < deadline:
            await asyncio.wait(
                self._deliveries, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
        self._shared.writer.request_commit("drain")
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=max(0.0, deadline - time.monotonic()))
        left = list(self._deliveries)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._holding.acknowledge_finished()
        return len(left)


def _back_off(attempts: int) -> float:
    """Seconds until the next attempt: 2, 4, 8 … up to five minutes."""
    return min(2.0 ** max(1, attempts), LONGEST_BACK_OFF_SECS)
