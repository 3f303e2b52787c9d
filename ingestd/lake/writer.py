"""Joins the chunks that children return into batches, and commits those: the parent's side of the lake.

One batch is committed while the next one fills; `add` waits while both are full, which is the back-pressure of the
whole path. A batch is due at the first of: bytes, rows, `rotate_secs`, or somebody's request (nothing left to read,
drain, a reject). It is given back to nobody: what cannot be written now is tried until it can.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ingestd.errors import BatchRefused, Retryable
from ingestd.lake.commit import Committer, Journal, Stall
from ingestd.lake.files import LakeFiles
from ingestd.lake.parquet import EncodedFile, Kept, encode
from ingestd.lake.pending import PendingBatch
from ingestd.lake.unwritable import as_rejects
from ingestd.model import BatchPlan, ChunkResult, ObjectDone
from ingestd.telemetry import catalogue, occurrences
from ingestd.telemetry.health import Component

CLOSE_SECS = 30.0
"""How long `close` waits for the lake unless told otherwise."""


class WriterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch is due."""

    rotate_secs: float = 60.0
    """Longest time from the first row of a batch to its commit."""
    rotate_bytes: int = 64 * 1024 * 1024
    """Arrow bytes, about seven times those of the Parquet files. Twice this much is held at most: one batch fills
    while another one is written."""
    rotate_rows: int = 1_000_000


class Writer:
    """See the module. All methods are called from one event loop."""

    def __init__(
        self, settings: WriterSettings, files: LakeFiles, journal: Journal, health: Component | None = None
    ) -> None:
        """`health` is told when a batch cannot be written for now, and when one was."""
        self.settings = settings
        """May be replaced at a reload; takes effect from the next chunk on."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lake")
        self._stall = Stall(health)
        self._committer = Committer(files, journal, self._executor, self._stall)
        self._filling = PendingBatch()
        self._committing: PendingBatch | None = None
        self._lost: dict[str, Exception] = {}
        """Objects of which rows were dropped, until their reader asks for the outcome."""
        self._reason = ""
        """Why the filling batch was asked for; empty when nobody did."""
        self._due = asyncio.Event()
        self._swapped = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._closed = False

    async def recover(self) -> None:
        """Publish what was committed and is not in view yet: left by a daemon before this one, or not published by
        this one when it could not be. To be called before anything is claimed, and now and then."""
        await self._committer.recover()

    # --- what comes in --------------------------------------------------------------------------------------

    async def add(self, result: ChunkResult, alert_ids: Sequence[str | None]) -> None:
        """Let a chunk join the batch; `alert_ids` runs parallel to `result.matches`. Waits while buffers are full."""
        self._refuse_when_closed()
        while self._is_full():
            self._due.set()
            self._swapped.clear()
            await self._swapped.wait()
            self._refuse_when_closed()
        self._joining()
        self._filling.add(Kept(result, tuple(alert_ids)))
        self._note_buffers()
        if self._is_full():
            self._due.set()

    def finish(self, identity: str, done: ObjectDone) -> asyncio.Future[None]:
        """Every chunk of the object was added: the future resolves when all of them are committed.

        It fails with `Retryable` when the object has to be read again, because its claim was lost or its batch
        was aborted by another daemon.
        """
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost = self._lost.pop(identity, None)
        if lost is not None:
            self._give_up(identity, lost)  # rows that came after those that were dropped
            committed.set_exception(lost)
            return committed
        self._refuse_when_closed()
        self._joining()
        self._filling.finish(identity, done, committed)
        return committed

    async def leave(self, identity: str) -> None:
        """The object will not be read to its end now: returns when its claim may be given up.

        What was read of it is committed, so that the next reader goes on after it; when that is not possible
        soon, its rows are dropped and will be read again. Never raises.
        """
        for batch in (self._committing, self._filling):
            if batch is not None and identity in batch:
                self.request_commit("leave")
                await self._stall.wait_for(batch.settled)
        self._give_up(identity, Retryable(f"{identity}: reading was given up"))
        self._lost.pop(identity, None)

    def request_commit(self, reason: str) -> None:
        """Commit what there is, soon. Nothing happens when there is nothing."""
        if self._filling:
            self._reason = self._reason or reason
            self._due.set()

    async def flush(self) -> None:
        """Returns when all that was added before is published (or dropped)."""
        waiting = [batch.settled for batch in (self._committing, self._filling) if batch]
        self.request_commit("flush")
        if waiting:
            await asyncio.wait(waiting)

    async def close(self, deadline_secs: float = CLOSE_SECS) -> None:
        """Flush, then stop, as soon as all is published, the lake cannot be written for now, or the deadline is over.

        From the call on, `add` and `finish` raise `Retryable`, those that wait in `add` included. Objects that are
        not committed at the end fail with `Retryable` and are read again. Idempotent.
        """
        self._closed = True
        try:
            async with asyncio.timeout(deadline_secs):
                await self._stall.wait_for(asyncio.ensure_future(self.flush()))
        except TimeoutError:
            occurrences.retrying("commit", _stopped(), in_secs=0.0)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Stop at once, as `close` with no time. What is committed and not published, the next start publishes."""
        self._closed = True
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        self._filling.drop_all(_stopped())
        self._filling.settle()
        self._swapped.set()
        self._executor.shutdown(wait=False)

    @property
    def is_committing(self) -> bool:
        """Whether a batch is on its way to the disk."""
        return self._committing is not None

    # --- what goes out --------------------------------------------------------------------------------------

    async def _commit_for_ever(self) -> None:
        while True:
            await self._until_due()
            batch, self._filling = self._filling, PendingBatch()
            reason, self._reason = self._reason or ("full" if self._is_full(batch) else "time"), ""
            self._committing = batch
            self._swapped.set()
            try:
                await self._commit(batch, reason)
            except asyncio.CancelledError:
                batch.drop_all(_stopped())
                raise
            except Exception as error:  # noqa: BLE001 - one batch must not end the loop; its objects are read again
                occurrences.internal_error("commit", error)
                self._drop(batch, Retryable(f"the batch could not be committed: {error!r}"))
            finally:
                self._committing = None
                batch.settle()
                self._note_buffers()

    async def _until_due(self) -> None:
        while True:
            self._due.clear()
            if self._filling and (self._reason or self._is_full()):
                return
            left = None
            if self._filling:
                left = self._filling.opened + self.settings.rotate_secs - time.monotonic()
                if left <= 0:
                    return
            try:
                async with asyncio.timeout(left):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _commit(self, batch: PendingBatch, reason: str) -> None:
        """Take a batch through the protocol, without the objects that the ledger refuses."""
        while batch:
            started = time.monotonic()
            files = await self._encoded(batch)
            plan = batch.plan(files)
            try:
                committed = await self._committer.commit(plan, files)
            except BatchRefused as refused:
                self._drop_some(batch, plan, refused)
                continue
            except Exception:
                await self._committer.abort(plan)
                raise
            if not committed:
                occurrences.batch_aborted(plan.batch_id, "another daemon took over its objects")
                self._drop(batch, Retryable("another daemon took over the object before the commit"))
                await self._committer.abort(plan)
                return
            await batch.resolve()
            seconds = time.monotonic() - started
            occurrences.batch_committed(plan.batch_id, batch.rows, seconds=seconds, reason=reason)
            if await self._committer.publish(plan):
                for file in files:
                    occurrences.file_published(file.table, file.rows, len(file.data))
            return

    async def _encoded(self, batch: PendingBatch) -> list[EncodedFile]:
        """The batch as files. A chunk that cannot be written becomes rejects; all others go on."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, encode, batch.chunks)
        except Exception as error:  # noqa: BLE001 - whatever Arrow says to a poisoned chunk
            occurrences.batch_split("", error)
        batch.chunks = await loop.run_in_executor(self._executor, _without_culprits, batch.chunks)
        return await loop.run_in_executor(self._executor, encode, batch.chunks)

    # --- keeping count --------------------------------------------------------------------------------------

    def _drop_some(self, batch: PendingBatch, plan: BatchPlan, refused: BatchRefused) -> None:
        occurrences.batch_aborted(plan.batch_id, str(refused))
        identities = refused.identities.keys() & {*(one.identity for one in plan.ranges), *_finished(plan)}
        if not identities:  # the ledger named nobody of this batch: then nobody can be kept
            self._drop(batch, Retryable(str(refused)))
            return
        lost = {identity: Retryable(f"{identity}: {refused.identities[identity]}") for identity in identities}
        self._remember_lost(set(lost) - _finished(plan), lost)
        batch.drop(dict(lost))

    def _drop(self, batch: PendingBatch, error: Exception) -> None:
        finished = batch.finished
        dropped = batch.drop_all(error)
        self._remember_lost(dropped - finished, dict.fromkeys(dropped, error))

    def _remember_lost(self, identities: set[str], errors: Mapping[str, Exception]) -> None:
        """Objects that go on: their end may lie in the batch that fills now, or is still to be read."""
        for identity in identities:
            if identity in self._filling.finished:
                self._give_up(identity, errors[identity])
            else:
                self._lost[identity] = errors[identity]

    def _give_up(self, identity: str, error: Exception) -> None:
        """Take an object out of the filling batch, which may make room for those who wait."""
        if identity in self._filling:
            self._filling.drop({identity: error})
            self._swapped.set()
            self._note_buffers()

    def _is_full(self, batch: PendingBatch | None = None) -> bool:
        batch = batch or self._filling
        return batch.bytes >= self.settings.rotate_bytes or batch.rows >= self.settings.rotate_rows

    def _note_buffers(self) -> None:
        committing = self._committing.bytes if self._committing else 0
        catalogue.LAKE_BUFFER.set(self._filling.bytes + committing)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Retryable("the lake is closing")

    def _joining(self) -> None:
        """Something is about to join the filling batch: the first to do so sets its deadline."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._commit_for_ever(), name="lake-writer")
        if not self._filling:
            self._due.set()


def _stopped() -> Retryable:
    return Retryable("the daemon stopped before the commit; what is not committed is read again")


def _finished(plan: BatchPlan) -> set[str]:
    return {one.identity for one in plan.finished}


def _without_culprits(chunks: list[Kept]) -> list[Kept]:
    """The chunks, of which each that cannot be encoded is replaced by rejects that say so; found by halving."""
    try:
        encode(chunks)
    except Exception as error:  # noqa: BLE001 - as in _encoded
        if len(chunks) == 1:
            return [as_rejects(chunks[0], error)]
        middle = len(chunks) // 2
        return _without_culprits(chunks[:middle]) + _without_culprits(chunks[middle:])
    return chunks
