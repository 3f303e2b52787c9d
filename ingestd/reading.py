"""One object on its way: opened, claimed, read by a child, committed to the lake.

An object that two messages of this process name is read once; the second message waits for the first one's commit.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from ingestd.config.models import SourceConfig
from ingestd.errors import Permanent, Retryable, Superseded
from ingestd.lake.writer import Writer
from ingestd.ledger import Claim, Ledger
from ingestd.messages import MessageObject
from ingestd.model import Delivery, Identity, ObjectDone, ObjectRef, ObjectTask, Route
from ingestd.routes import route_for
from ingestd.stores.base import OpenObject, Store
from ingestd.telemetry import occurrences

LARGE_BYTES = 1 << 20
"""Stored bytes from which an object counts as large."""
BUSY_SECS = 2.0
"""When to look again at an object that another daemon is reading."""

Commit = asyncio.Future[None]
"""Resolved when every record of an object is in the lake; fails with `Retryable` when it has to be read again."""

_task_numbers = itertools.count(1)


class Executor(Protocol):
    """What takes an object through a child: `workers.pool.Pool`, or `SerialExecutor` in this process."""

    async def run(self, task: ObjectTask, body: bytes | Callable[[], AsyncIterator[bytes]]) -> ObjectDone:
        """See `Pool.run`."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipelines of all sources share."""

    ledger: Ledger
    pool: Executor
    writer: Writer
    stores: Mapping[str, Store] = {}
    """Those of the source at hand: a message can name nothing else, such as a file of this machine."""
    committing: dict[str, Commit] = {}
    """Identity → commit of the objects under way in this process."""
    verify_digest: Callable[[str], Awaitable[Commit | None]] | None = None
    """Verifies a digest file of CloudTrail by its URL, where the source is to; see `ingestd.digests`."""


class Reading:
    """Reads the objects of one source."""

    def __init__(self, source: str, config: SourceConfig, shared: Shared) -> None:
        self._source = source
        self._label = config.label or source
        self._routes = config.to_routes()
        self._shared = shared
        self._giving_up: set[asyncio.Task[None]] = set()
        self.large = 0
        """Large objects that are being read."""

    async def read(self, ref: ObjectRef) -> Commit | None:
        """Read an object to its end; the future of its commit, or None when there is nothing to do.

        Raises `Retryable` or `Permanent`, after the object's claim was given back.
        """
        route = route_for(self._routes, ref.key)
        if route is None:
            occurrences.notice_ignored(self._source, "no_route", ref.key)
            return None
        async with await self._open(ref) as opened:
            if opened.look_again_secs is not None:
                await self._shared.ledger.follow(self._source, opened.ref, opened.look_again_secs)
                if opened.size == opened.start:
                    return None  # nothing came since the last look
            under_way = self._shared.committing.get(opened.identity)
            if under_way is not None:
                occurrences.object_waiting(self._source, ref.url)
                if opened.look_again_secs is not None:  # that reading may have begun before the last append
                    raise Retryable(f"{ref.url}: is being read", retry_after=BUSY_SECS)
                return under_way
            return await self._claim_and_read(opened, route)

    async def read_message(self, delivery: Delivery, data: bytes) -> Commit | None:
        """The same for a message that is log events itself: `data` is what it holds."""
        route = route_for(self._routes, "")
        if route is None:
            occurrences.notice_ignored(self._source, "no_route", delivery.message_id)
            return None
        opened = MessageObject(delivery, data)
        under_way = self._shared.committing.get(opened.identity)
        return under_way or await self._claim_and_read(opened, route)

    async def _claim_and_read(self, opened: OpenObject, route: Route) -> Commit | None:
        """Known to this process before it is claimed: another message that names it finds the commit to wait for."""
        commit: Commit = asyncio.get_running_loop().create_future()
        self._shared.committing[opened.identity] = commit
        try:
            claim = await self._claim(opened)
        except BaseException as error:
            self._resolve(opened.identity, commit, error)
            raise
        if claim is None:
            self._resolve(opened.identity, commit, None)
            return None
        return await self._through_a_child(opened, route, claim, commit)

    async def _open(self, ref: ObjectRef) -> OpenObject:
        store = self._store(ref)
        if store.objects_grow and ref.etag is None:  # what is pinned to its content has not grown
            ref = msgspec.structs.replace(ref, growth=await self._shared.ledger.growth(ref.url))
        try:
            return await store.open(ref)
        except Superseded:
            occurrences.object_superseded(self._source, ref.url)
            return await store.open(msgspec.structs.replace(ref, etag=None, version=None, size=None))
        except Permanent:
            if store.follows:
                await self._shared.ledger.follow(self._source, ref, 0.0)  # what is gone does not grow
            raise

    def _store(self, ref: ObjectRef) -> Store:
        store = self._shared.stores.get(ref.store)
        if store is None:
            raise Permanent(f"{ref.url}: no store reads {ref.store}://", reason="unknown_store")
        return store

    async def _claim(self, opened: OpenObject) -> Claim | None:
        """None when the object is committed already."""
        claim = await self._shared.ledger.claim(
            opened.identity,
            source=self._source,
            url=opened.ref.url,
            may_grow=opened.may_grow,
            stored_bytes=opened.size or 0,
            grown_from=opened.grown_from,
        )
        if claim.status == "done":
            occurrences.object_known(self._source, opened.ref.url)
            return None
        if claim.status == "busy":
            occurrences.object_waiting(self._source, opened.ref.url)
            raise Retryable(f"{opened.ref.url}: another daemon is reading it", retry_after=BUSY_SECS)
        return claim

    async def _through_a_child(self, opened: OpenObject, route: Route, claim: Claim, commit: Commit) -> Commit:
        """Send the bytes to a child; what it returns reaches the lake by `Keeper.keep`."""
        identity, started = opened.identity, time.monotonic()
        is_large = (opened.size or 0) > LARGE_BYTES
        self.large += is_large
        try:
            body = opened.whole if opened.whole is not None else self._bytes_of(opened)
            done = await self._shared.pool.run(self._task(opened, route, claim), body)
        except BaseException as error:
            self._resolve(identity, commit, error)
            await self._give_up(identity)
            raise
        finally:
            self.large -= is_large
        seconds = time.monotonic() - started
        occurrences.object_read(
            self._source, opened.ref.url, done, compressed_bytes=(opened.size or 0) - opened.start, seconds=seconds
        )
        done = msgspec.structs.replace(done, stored_bytes=opened.size or 0)
        in_lake = self._shared.writer.finish(identity, done)
        in_lake.add_done_callback(lambda future: self._committed(opened.ref.url, identity, done, commit, future))
        return commit

    def _task(self, opened: OpenObject, route: Route, claim: Claim) -> ObjectTask:
        if claim.framing is not None:  # a re-read has to count alike
            framing = msgspec.structs.replace(route.framing, name=claim.framing)
            route = msgspec.structs.replace(route, framing=framing)
        growth = opened.ref.growth if opened.start else None
        return ObjectTask(
            task=next(_task_numbers),
            identity=opened.identity,
            source=self._source,
            label=self._label,
            origin=opened.origin,
            route=route,
            skip=claim.skip,
            first_ordinal=growth.records or 0 if growth else 0,
            offset=opened.start,
            modified=opened.modified,
        )

    def _bytes_of(self, opened: OpenObject) -> Callable[[], AsyncIterator[bytes]]:
        """Reads the object from its start, as often as children die over it."""
        first = True

        async def read() -> AsyncIterator[bytes]:
            nonlocal first
            if first:
                first = False
                async for piece in opened.chunks():
                    yield piece
                return
            async with await self._open_again(opened) as again:
                if again.identity != opened.identity:
                    raise Superseded(f"{opened.ref.url}: overwritten while it was read")
                async for piece in again.chunks():
                    yield piece

        return read

    async def _open_again(self, opened: OpenObject) -> OpenObject:
        if isinstance(opened, MessageObject):
            return opened
        return await self._store(opened.ref).open(opened.ref)

    def _committed(self, url: str, identity: Identity, done: ObjectDone, commit: Commit, in_lake: Commit) -> None:
        error = asyncio.CancelledError() if in_lake.cancelled() else in_lake.exception()
        self._resolve(identity, commit, error)
        if error is None:
            occurrences.object_committed(self._source, url, done.records)
        else:  # the next delivery, here or elsewhere, may claim it
            giving_up = asyncio.ensure_future(self._give_up(identity))
            self._giving_up.add(giving_up)
            giving_up.add_done_callback(self._giving_up.discard)

    async def _give_up(self, identity: Identity) -> None:
        await self._shared.writer.leave(identity)
        await self._shared.ledger.release(identity)

    def _resolve(self, identity: Identity, commit: Commit, error: BaseException | None) -> None:
        del self._shared.committing[identity]
        if isinstance(error, asyncio.CancelledError):
            commit.cancel()
        elif error is not None:
            commit.set_exception(error)
            commit.exception()  # nobody may be waiting: that is no news to the loop
        else:
            commit.set_result(None)
