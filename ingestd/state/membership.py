"""Membership: this daemon among those that share the state, and telling which of the others are dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ingestd.state import batches, instances
from ingestd.state.base import State, Transaction
from ingestd.state.instances import Instance
from ingestd.state.locks import HeldLock, is_held

ASLEEP_LEASES = 5
"""A daemon that holds its lock but has not renewed for so many leases is stopped or hangs: others take its place."""


class Membership:
    """A registration under an epoch. With lock files a dead daemon is known at once, else when its lease is over."""

    def __init__(
        self, state: State, lock: HeldLock | None, lease_secs: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.epoch = 0
        self.lease_secs = lease_secs
        self._state = state
        self._lock = lock
        self._clock = clock

    @classmethod
    async def enter(cls, state: State, folder: Path | None, lease_secs: float, clock: Callable[[], float]) -> Self:
        """Register. `folder` is that of the lock files; None where daemons are on several hosts."""
        lock = HeldLock.take(folder) if folder else None
        membership = cls(state, lock, lease_secs, clock)
        try:
            await membership._register()
        except BaseException:
            if lock:
                lock.release()
            raise
        return membership

    async def _register(self) -> None:
        lock_file = self._lock.path.name if self._lock else ""
        now, until = self._clock(), self._clock() + self.lease_secs
        self.epoch = await self._state.transact(lambda tx: instances.register(tx, lock_file, now, until))

    async def renew(self) -> bool:
        """Extend the lease. False when we were taken for dead meanwhile, and are registered under a new epoch."""
        epoch, until = self.epoch, self._clock() + self.lease_secs
        if await self._state.transact(lambda tx: instances.renew(tx, epoch, until)):
            return True
        await self._register()
        return False

    async def leave(self) -> None:
        """End the epoch and abort what it prepared; the lock is free afterwards whatever happens."""
        epoch, now = self.epoch, self._clock()

        def work(tx: Transaction) -> None:
            instances.remove(tx, epoch)
            batches.abort_orphans(tx, now)

        try:
            await self._state.transact(work)
        finally:
            if self._lock:
                self._lock.release()

    async def end_the_dead(self) -> None:
        """End the epochs of all daemons that are dead."""
        for instance in await self._state.read(instances.list_all):
            if instance.epoch != self.epoch:
                await self.end_if_dead(instance)

    async def end_if_dead(self, instance: Instance) -> bool:
        """End the epoch of a daemon that is dead, or asleep for too long; whether it was."""
        held = self._is_held(instance)
        # One whose lock is held lives: it may have been kept from renewing, by a full disk for instance.
        expired_before = self._clock() - (ASLEEP_LEASES * self.lease_secs if held else 0.0)
        if held is not False and instance.lease_until >= expired_before:
            return False
        now = self._clock()

        def work(tx: Transaction) -> None:
            if held is False:
                instances.remove(tx, instance.epoch)
            else:
                instances.remove_expired(tx, instance.epoch, expired_before)
            batches.abort_orphans(tx, now)

        await self._state.transact(work)
        if held is False and self._lock:
            (self._lock.path.parent / instance.lock_file).unlink(missing_ok=True)
        return True

    def _is_held(self, instance: Instance) -> bool | None:
        """None when there is nothing to tell by."""
        if self._lock is None or not instance.lock_file:
            return None
        return is_held(self._lock.path.parent / instance.lock_file)
