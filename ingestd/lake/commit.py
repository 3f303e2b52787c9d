"""The commit of one batch, and what recovery does with batches that others left.

    prepare (ranges, file names → ledger)       refused on overlap, or when a claim is not ours any more
    write to staging, fsync files and folders
    compare-and-set prepared → committed        the only commit point
    publish by rename, fsync folders            idempotent: whoever finds the batch rolls it forward
    note that it is published

A crash before the compare-and-set leaves nothing but garbage in staging; one after it leaves work that `recover`
finishes. Every step may be repeated, and is, for as long as it raises `Retryable`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from ingestd import failpoints
from ingestd.errors import Retryable
from ingestd.lake.files import LakeFiles
from ingestd.lake.parquet import EncodedFile
from ingestd.model import BatchPlan
from ingestd.telemetry import occurrences
from ingestd.telemetry.health import Component

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_PAUSE_SECS = 30.0
PATIENCE_SECS = 0.4
"""A pause this long means that the fault does not pass by itself; the third pause is."""


RECOVER_SECS = 60.0
"""How often `recover` is called by the daemon, for its messages."""


class Journal(Protocol):
    """Where batches are written down: the ledger. All may be repeated, all may raise `Retryable`."""

    async def prepare(self, plan: BatchPlan) -> None:
        """Enter the batch. Raises `BatchRefused`."""

    async def commit(self, batch_id: str) -> bool:
        """The commit point; False when somebody aborted the batch."""

    async def published(self, batch_id: str) -> None:
        """Its files lie where they belong."""

    async def abort(self, batch_id: str) -> bool:
        """Free the ordinals of a prepared batch; False when it is committed and stays."""

    async def recover(self) -> list[BatchPlan]:
        """Batches that are committed, not published, and nobody's any more: now ours to publish."""

    async def unfinished(self) -> set[str]:
        """Batches of anyone that are prepared, or committed and not yet published."""


class Stall:
    """Whether the commit is waiting for something outside to be mended, e.g. a full disk."""

    def __init__(self, health: Component | None = None) -> None:
        self._begun = asyncio.Event()
        self._health = health

    async def insist(self, batch_id: str, step: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Repeat `step(*args)` until it does not raise `Retryable`, with back-off."""
        pause = 0.1
        while True:
            try:
                result = await step(*args, **kwargs)
            except Retryable as error:
                wait = error.retry_after or random.uniform(pause / 2, pause)  # noqa: S311 - jitter
                self.failing(batch_id, error, in_secs=wait)
                if pause >= PATIENCE_SECS:
                    self._begun.set()
                await asyncio.sleep(wait)
                pause = min(pause * 2, LONGEST_PAUSE_SECS)
            else:
                self._begun.clear()
                return result

    def failing(self, batch_id: str, error: Exception, *, in_secs: float) -> None:
        """Tell that a batch cannot be written for now."""
        occurrences.batch_failed(batch_id, error, in_secs=in_secs)
        if self._health:
            self._health.failing(error)

    def over(self) -> None:
        """Tell that nothing waits to be written."""
        if self._health:
            self._health.ok()

    async def wait_for(self, settled: asyncio.Future[None]) -> None:
        """Wait until `settled`, or until it may take long."""
        begun = asyncio.ensure_future(self._begun.wait())
        try:
            await asyncio.wait([settled, begun], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
        finally:
            begun.cancel()


class Committer:
    """Takes batches through the protocol, one at a time."""

    def __init__(self, files: LakeFiles, journal: Journal, executor: Executor, stall: Stall) -> None:
        self._files = files
        self._journal = journal
        self._executor = executor
        self._stall = stall
        self._unpublished: dict[str, BatchPlan] = {}
        """Committed and not in view, for `recover` to try again."""

    async def commit(self, plan: BatchPlan, files: Sequence[EncodedFile]) -> bool:
        """Up to and with the commit point; False when somebody aborted the batch. Raises `BatchRefused`."""
        insist, batch_id = self._stall.insist, plan.batch_id
        failpoints.hit("lake.before_prepare")
        await insist(batch_id, self._journal.prepare, plan)
        failpoints.hit("lake.after_prepare")
        for planned, file in zip(plan.files, files, strict=True):
            await insist(batch_id, self._run, self._files.write, planned.staging, file.data)
            failpoints.hit("lake.after_staged_file")
        await insist(batch_id, self._run, self._files.sync)
        failpoints.hit("lake.before_commit")
        committed = await insist(batch_id, self._journal.commit, batch_id)
        failpoints.hit("lake.after_commit")
        return committed

    async def publish(self, plan: BatchPlan) -> bool:
        """Bring the files of a committed batch into view; False when that has to wait for a `recover`."""
        try:
            await self._stall.insist(plan.batch_id, self._publish_once, plan)
        except Exception as error:  # noqa: BLE001 - its rows are safe: an operator is told, the next batch goes on
            self._unpublished[plan.batch_id] = plan
            self._tell_unpublished(plan, error)
            return False
        self._note_published(plan)
        return True

    async def _publish_once(self, plan: BatchPlan) -> None:
        for planned in plan.files:
            await self._run(self._files.move, planned.staging, planned.final)
            failpoints.hit("lake.after_publish_file")
        await self._run(self._files.sync)
        failpoints.hit("lake.before_published_mark")
        await self._journal.published(plan.batch_id)
        await self._run(self._files.discard, plan.batch_id)

    def _tell_unpublished(self, plan: BatchPlan, error: Exception) -> None:
        self._stall.failing(plan.batch_id, error, in_secs=RECOVER_SECS)
        if not isinstance(error, Retryable):
            occurrences.internal_error("commit", error, batch=plan.batch_id)

    def _note_published(self, plan: BatchPlan) -> None:
        self._unpublished.pop(plan.batch_id, None)
        if not self._unpublished:
            self._stall.over()

    async def abort(self, plan: BatchPlan) -> None:
        """Undo a batch that was prepared and not committed."""
        insist, batch_id = self._stall.insist, plan.batch_id
        await insist(batch_id, self._journal.abort, batch_id)
        await insist(batch_id, self._run, self._files.discard, batch_id)

    async def recover(self) -> int:
        """Publish what the dead left committed and what could not be published before, and empty the staging folder
        of what nobody needs; batches published.

        One that cannot be published now is reported and kept for the next call; the others go on.
        """
        self._unpublished |= {plan.batch_id: plan for plan in await self._journal.recover()}
        published = 0
        for plan in list(self._unpublished.values()):
            try:
                await self._publish_once(plan)
            except Exception as error:  # noqa: BLE001 - as in `publish`
                self._tell_unpublished(plan, error)
            else:
                published += 1
                self._note_published(plan)
        # In this order: a staging folder is made after its batch was prepared, so one that is not wanted now
        # never will be.
        staged = await self._run(self._files.staged_batches)
        wanted = await self._journal.unfinished()
        for batch_id in staged:
            if batch_id not in wanted:
                await self._run(self._files.discard, batch_id)
        return published

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *args, **kwargs))
