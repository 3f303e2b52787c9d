"""The ledger: which ordinals of which identity are committed, so that nothing is lost and nothing counted twice.

    claim ──► (prepare ──► commit ──► published) … ──► done
      └─────► release

A daemon registers under an epoch, and holds a file lock where all daemons are on one host. Claims and prepared
batches belong to the epoch. When the lock is free, or the lease has long run out, any other daemon ends the epoch:
its claims are free, its prepared batches aborted, its committed batches published by whoever
calls `recover`. A daemon that was only asleep finds its epoch gone, and that nothing it prepared was committed.

Every method that reaches the state may raise `Retryable`; all may be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from ingestd.errors import BatchRefused, IngestdError, Permanent, Retryable
from ingestd.model import BatchPlan, Growth, ObjectRef
from ingestd.state import batches, growing, instances, messages, objects
from ingestd.state.base import State, Transaction
from ingestd.state.claiming import Claiming
from ingestd.state.claims import Claim
from ingestd.state.instances import Instance
from ingestd.state.membership import Membership
from ingestd.state.objects import Wish

__all__ = ["Claim", "Ledger"]

SWEEP_ROWS = 500
"""Rows dropped in one transaction, so that others need not wait long."""


class Ledger:
    """See the module. All methods are called from one event loop."""

    def __init__(
        self, state: State, member: Membership, *, message_dedup_secs: float, clock: Callable[[], float]
    ) -> None:
        self.trouble = ""
        """Why the lease could not be renewed just now; empty when all is well."""
        self._state = state
        self._member = member
        self.message_dedup_secs = message_dedup_secs
        """How long finished messages are remembered; may be changed at any time."""
        self._clock = clock
        self._held: set[str] = set()
        """What is claimed here."""
        self._unsure: set[str] = set()
        """What may be claimed in the state without being held, as an answer was lost: freed with the next renewal."""
        self._claiming = Claiming(state, clock, self._remembered_since)
        self._renewal: asyncio.Task[None] | None = asyncio.create_task(self._renew_for_ever(), name="ledger-lease")

    @classmethod
    async def open(
        cls,
        state: State,
        instance_dir: Path | None,
        *,
        lease_secs: float = 60.0,
        message_dedup_secs: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Register this daemon. `instance_dir` holds the lock files and is the same folder for all daemons of
        the state; None when they are on several hosts, where the lease alone tells who is alive.
        """
        member = await Membership.enter(state, instance_dir, lease_secs, clock)
        return cls(state, member, message_dedup_secs=message_dedup_secs, clock=clock)

    async def close(self) -> None:
        """End the epoch: claims are free, prepared batches aborted. Idempotent; the state stays open."""
        if self._renewal is None:
            return
        self._renewal.cancel()
        with suppress(asyncio.CancelledError):
            await self._renewal
        self._renewal = None
        try:
            await self._member.leave()
        finally:
            self._held.clear()

    @property
    def epoch(self) -> int:
        """Number of this daemon's registration; another one after it was taken for dead."""
        return self._member.epoch

    # --- claims ---

    async def claim(
        self,
        identity: str,
        *,
        source: str,
        url: str,
        may_grow: bool = False,
        stored_bytes: int = 0,
        grown_from: str | None = None,
    ) -> Claim:
        """Ask for an object before reading it.

        `may_grow` lets `growth` find the object by its URL later; `stored_bytes` is then its size. `grown_from` is
        the identity (perhaps the same) with whose content this one begins: what is committed of it counts for this.
        """
        _check_identity(identity)
        if identity in self._held or grown_from in self._held:
            return Claim(status="busy", identity=identity)
        self._held.add(identity)
        granted = False
        try:
            wish = Wish(
                identity=identity,
                source=source,
                url=_printable(url),
                epoch=self._member.epoch,
                may_grow=may_grow,
                stored_bytes=stored_bytes,
                grown_from=grown_from,
            )
            answer = await self._claiming.claim(wish)
            if isinstance(answer, Instance) and await self._member.end_if_dead(answer):
                answer = await self._claiming.claim(wish)
            granted = isinstance(answer, Claim) and answer.status == "granted"
        except BaseException:
            self._unsure.add(identity)
            raise
        finally:
            if granted:
                self._unsure.discard(identity)
            else:
                self._held.discard(identity)
        return answer if isinstance(answer, Claim) else Claim(status="busy", identity=identity)

    async def growth(self, url: str) -> Growth | None:
        """What was read last, in whole or in part, at the URL of an object claimed with `may_grow`."""
        row = await self._state.read(lambda tx: objects.newest_at(tx, _printable(url)))
        if row is None or not row.stored_bytes:
            return None
        is_whole = row.done and not row.tail_open and row.compression == "none"
        return Growth(identity=row.identity, size=row.stored_bytes, records=row.total if is_whole else None)

    async def follow(self, source: str, ref: ObjectRef, every_secs: float) -> None:
        """Remember that the object grows and has to be looked at every so often, until a call with 0 says that the
        look at hand is the last one. To be called before anything of the look is acknowledged."""
        now = self._clock()
        await self._state.transact(lambda tx: growing.follow(tx, source, ref, every_secs, now))

    async def due(self, source: str, limit: int, hold_secs: float) -> list[growing.Due]:
        """Objects that grow and are to be looked at now; nobody else gets them for `hold_secs`."""
        now = self._clock()
        return await self._state.transact(lambda tx: growing.take_due(tx, source, limit, now, now + hold_secs))

    async def due_later(self, source: str, urls: Iterable[str], delay_secs: float) -> None:
        """Put off the next look at these objects."""
        until, wanted = self._clock() + delay_secs, list(urls)

        def work(tx: Transaction) -> None:
            for url in wanted:
                growing.put_off(tx, source, url, until)

        await self._state.transact(work)

    async def looked(self, source: str, urls: Iterable[str], *, give_up: bool = False) -> None:
        """What there was to see at these objects is committed. `give_up` ends following them whatever they do."""
        now, wanted = self._clock(), list(urls)

        def work(tx: Transaction) -> None:
            for url in wanted:
                if give_up:
                    growing.drop(tx, source, url)
                else:
                    growing.looked(tx, source, url, now)

        await self._state.transact(work)

    async def release(self, identity: str) -> None:
        """End the claim without a result; nothing is counted. Without a claim nothing happens. Never raises
        `Retryable`: what the state does not take now is freed with the next renewal of the lease."""
        if identity not in self._held:
            return
        self._held.discard(identity)
        self._unsure.add(identity)
        with suppress(Retryable):
            await self._free_unsure([identity])

    async def message_failed(self, source: str, message_id: str, reason: str) -> int:
        """Count a failed attempt of a message that names no object we could read; how many there are now."""
        now, name, text = self._clock(), _printable(message_id), _printable(reason)
        return await self._state.transact(lambda tx: messages.count_failure(tx, source, name, text, now))

    async def forget_message(self, source: str, message_id: str) -> None:
        """Drop the count of a message: it succeeded, or was dead-lettered."""
        name = _printable(message_id)
        await self._state.transact(lambda tx: messages.forget_failures(tx, source, name))

    # --- the journal of the lake ---

    async def prepare(self, plan: BatchPlan) -> None:
        """Enter a batch before its files are written.

        Raises `BatchRefused`, which names the objects in the way, when one of them is not claimed by this daemon
        (any more), or when an ordinal is committed, in another batch, or twice in this one.
        """
        epoch, now = self._member.epoch, self._clock()

        def work(tx: Transaction) -> None:
            if instances.find(tx, epoch) is None:
                why = "this daemon was taken for dead, its claims are lost"
                raise BatchRefused(dict.fromkeys(batches.identities_of(plan), why))
            batches.prepare(tx, plan, epoch, now)

        await self._state.transact(work)

    async def commit(self, batch_id: str) -> bool:
        """The commit point. False when the batch was aborted: nothing of it is or will be visible.

        Objects of which all ordinals are committed now are done, and their claims have ended.
        """
        now = self._clock()
        done = await self._state.transact(lambda tx: batches.commit(tx, batch_id, now))
        self._held.difference_update(done or ())
        return done is not None

    async def published(self, batch_id: str) -> None:
        """Note that the files of a committed batch lie where they belong."""
        now = self._clock()
        await self._state.transact(lambda tx: batches.publish(tx, batch_id, now))

    async def abort(self, batch_id: str) -> bool:
        """Give a prepared batch up; its ordinals are free. False when it is committed and stays."""
        now = self._clock()
        return await self._state.transact(lambda tx: batches.abort(tx, batch_id, now))

    async def recover(self) -> list[BatchPlan]:
        """Take over from daemons that died: their prepared batches are aborted; their committed ones are answered,
        each to one caller only, which then publishes its files and calls `published`."""
        await self._member.end_the_dead()
        epoch, now = self._member.epoch, self._clock()

        def work(tx: Transaction) -> list[BatchPlan]:
            batches.abort_orphans(tx, now)
            return batches.adopt_orphans(tx, epoch)

        return await self._state.transact(work)

    async def unfinished(self) -> set[str]:
        """Batches of anyone that are prepared, or committed and not yet published: their staged files are needed."""
        return set(await self._state.read(batches.unfinished))

    async def sweep(self, retention_secs: float) -> int:
        """Forget what was last touched longer ago than that, in small steps; how many rows."""
        before = self._clock() - retention_secs
        finished_before = self._remembered_since()
        steps: list[Callable[[Transaction], int]] = [
            lambda tx: objects.sweep(tx, before, SWEEP_ROWS),
            lambda tx: batches.sweep(tx, before, SWEEP_ROWS),
            lambda tx: messages.sweep_failures(tx, before, SWEEP_ROWS),
            lambda tx: messages.sweep_finished(tx, finished_before, SWEEP_ROWS),
            lambda tx: growing.sweep(tx, before, SWEEP_ROWS),
        ]
        swept = 0
        for step in steps:
            while rows := await self._state.transact(step):
                swept += rows
        return swept

    def _remembered_since(self) -> float:
        """Messages that were finished before this moment are forgotten."""
        return self._clock() - self.message_dedup_secs

    # --- the lease ---

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._member.lease_secs / 4)
            try:
                await self.renew()
                self.trouble = ""
            except IngestdError as error:
                self.trouble = str(error)

    async def renew(self) -> None:
        """Extend the lease, free what was left claimed, end the epochs of daemons that died. Called regularly."""
        if not await self._member.renew():
            self._held.clear()
        await self._free_unsure(list(self._unsure))
        await self._member.end_the_dead()

    async def _free_unsure(self, identities: list[str]) -> None:
        epoch, wanted = self._member.epoch, [identity for identity in identities if identity not in self._held]
        if not wanted:
            return

        def work(tx: Transaction) -> None:
            for identity in wanted:
                objects.free(tx, identity, epoch)

        await self._state.transact(work)
        self._unsure.difference_update(wanted)


def _printable(text: str) -> str:
    """The text as UTF-8 can hold it: a hostile name may have half a surrogate pair in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _check_identity(identity: str) -> None:
    """Identities are not changed on the way, as two might become one."""
    try:
        identity.encode()
    except UnicodeEncodeError as error:
        raise Permanent(f"{_printable(identity)}: the name is not valid Unicode", reason="bad_name") from error
