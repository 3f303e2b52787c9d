"""A folder as a source: each new or changed file is a message.

A file is delivered when it was renamed into the folder or closed after writing, or has been unchanged for
`settle_secs`; half-written files are left alone. What was acknowledged is remembered by signature (inode, size,
times of modification and change), so that a restart reads nothing again. Nothing of the user's is moved or marked.

Several daemons may read one folder: the ledger decides who reads which file.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from typing import Any

import msgspec

from ingestd.config.models import ConfigPath, Seconds, SourceConfig
from ingestd.errors import Retryable
from ingestd.failpoints import hit
from ingestd.folder import Signature, signature_now
from ingestd.model import Check, Delivery
from ingestd.sources._folder import FolderWatch
from ingestd.sources._moves import note_moves, same_inode
from ingestd.sources.base import Source
from ingestd.state import files
from ingestd.state.base import State, Transaction
from ingestd.telemetry import occurrences

LEASE_SECS = 3600.0
"""A file is ours as long as we live; the lease only has to be longer than the renewal."""
MOVED_SECS = 1.0
"""After this a file is looked at again that was renamed while it was read."""
SWEEP_PATHS = 500
"""Remembered paths looked at in one step, when those that are gone are forgotten."""


class Config(SourceConfig):
    """Reads the files of a folder tree."""

    path: ConfigPath
    """The folder. Links inside it are not followed."""
    include: tuple[str, ...] = ("*",)
    """Patterns of the paths (relative to the folder, `*` crosses `/`) to read."""
    exclude: tuple[str, ...] = (".*", "*/.*", "*.tmp", "*.part", "*.swp", "*~")
    """Patterns of the paths to leave alone: hidden files and what tools write before they rename."""
    settle_secs: Seconds = 2
    """A file that nobody was seen to close is read when it has been unchanged for this long."""
    rescan_secs: Seconds = 300
    """The tree is walked again this often, for file systems that tell nothing of changes (network mounts)."""


class DirectorySource(Source):
    """See the module."""

    lease_secs = LEASE_SECS
    lease_limit_secs = float("inf")

    def __init__(self, name: str, config: Config, state: State, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.degraded = ""
        """Why the folder cannot be watched and is walked instead; empty when it is watched."""
        self._config = config
        self._state = state
        self._clock = clock
        self._root = os.path.realpath(config.path)
        self._watch = FolderWatch(
            self._root,
            settle_secs=config.settle_secs,
            rescan_secs=config.rescan_secs,
            wanted=self._wanted,
            on_degraded=self._on_degraded,
            clock=clock,
        )
        self._started = False
        self._was_missing = False
        self._held: dict[str, tuple[Delivery, Signature]] = {}
        self._changed_while_held: set[str] = set()
        self._delayed: list[tuple[float, str]] = []
        self._swept_walks = 0
        self._sweep: asyncio.Task[None] | None = None
        self._gone_before: set[str] = set()
        """Paths that were gone after the last walk."""

    def _on_degraded(self, reason: str) -> None:
        if not self.degraded:
            occurrences.folder_not_watched(self.name, reason)
        self.degraded = reason

    def _wanted(self, key: str) -> bool:
        included = any(fnmatch(key, pattern) for pattern in self._config.include)
        return included and not any(fnmatch(key, pattern) for pattern in self._config.exclude)

    # --- Source ---

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. With `wait_secs` 0, waits for files that were given back, and once for those that are
        settling: the answer is empty only when nothing is there but files that somebody is writing."""
        await self._look_for_the_folder()
        if not self._started:
            self._watch.start()
            self._started = True
        deadline = self._clock() + (wait_secs or self._config.settle_secs + 1.0)
        while True:
            self._watch.arrived.clear()
            deliveries = await self._new_or_changed(limit)
            remaining = deadline - self._clock()
            if deliveries:
                return deliveries
            if not wait_secs and self._delayed:
                remaining = self._delayed[0][0] - self._clock()
            elif remaining <= 0 or (not wait_secs and not self._watch.settling and not self._watch.busy):
                return []
            await self._until_something(remaining)

    async def _look_for_the_folder(self) -> None:
        """Raises `Retryable` while it is not there; once it is (again), all of it is walked."""
        if not await asyncio.to_thread(os.path.isdir, self._root):
            self._was_missing = True
            raise Retryable(f"there is no folder {self._root}: make or mount it, or correct sources.{self.name}.path")
        if self._was_missing and self._started:
            self._watch.look_again()
        self._was_missing = False

    async def _until_something(self, at_most: float) -> None:
        due = min(self._watch.seconds_to_next(), self._delayed[0][0] - self._clock() if self._delayed else at_most)
        try:
            async with asyncio.timeout(max(0.001, min(at_most, due))):
                await self._watch.arrived.wait()
        except TimeoutError:
            return

    async def _new_or_changed(self, limit: int) -> list[Delivery]:
        now = self._clock()
        while self._delayed and self._delayed[0][0] <= now:
            self._watch.give_back(heapq.heappop(self._delayed)[1])
        candidates = {}
        for key in await self._watch.take(limit):
            if key in self._held:
                self._changed_while_held.add(key)
            elif (signature := signature_now(self._root, key)) is not None:
                candidates[key] = signature
        self._sweep_when_due()
        if not candidates:
            return []
        try:
            known = await self._state.read(lambda tx: files.lookup_many(tx, self.name, list(candidates)))
            changed = {key: signature for key, signature in candidates.items() if known.get(key) != tuple(signature)}
            fresh = {key: found for key, found in changed.items() if not same_inode(known.get(key), found)}
            for key in self._being_read_elsewhere(fresh):
                del changed[key], fresh[key]
                heapq.heappush(self._delayed, (now + MOVED_SECS, key))
            await note_moves(self._state, self.name, self._root, fresh, known, now)
        except BaseException:
            for key in candidates:
                self._watch.give_back(key)
            raise
        return [self._deliver(key, signature, now) for key, signature in changed.items()]

    def _being_read_elsewhere(self, fresh: Mapping[str, Signature]) -> list[str]:
        """Files that are being read under another path, where they were until a moment ago."""
        held = {signature[:2] for _, signature in self._held.values()}
        return [key for key, signature in fresh.items() if signature[:2] in held]

    def _deliver(self, key: str, signature: Signature, now: float) -> Delivery:
        # JSON holds Unicode only: a name that is none travels with its bytes escaped, as os.fsdecode has it
        notice = {"ingestd": "file", "root": self._root, "path": key, "size": signature.size}
        delivery = Delivery(
            source=self.name,
            message_id=f"{key}@{signature.mtime_ns}.{signature.ctime_ns}.{signature.size}",
            body=json.dumps(notice).encode(),
            receipt=key,
            received_at=now,
            sent_at=signature.mtime_ns / 1e9,
            lease_until=now + LEASE_SECS,
        )
        self._held[key] = (delivery, signature)
        return delivery

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        until = self._clock() + lease_secs
        return [
            msgspec.structs.replace(delivery, lease_until=until)
            for delivery in deliveries
            if delivery.receipt in self._held
        ]

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`: the files' signatures as they were delivered are remembered."""
        held = {d.receipt: self._held[d.receipt][1] for d in deliveries if d.receipt in self._held}
        if not held:
            return
        hit("source.before_ack")
        seen_at = self._clock()
        await self._state.transact(lambda tx: files.remember(tx, self.name, held, seen_at))
        hit("source.after_ack")
        self._let_go(held)

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        for delivery in deliveries:
            if self._held.pop(delivery.receipt, None) is not None:
                heapq.heappush(self._delayed, (self._clock() + delay_secs, delivery.receipt))
        self._watch.arrived.set()

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`. The file stays where it is; the reject says what was wrong with it."""
        await self.ack([delivery])

    async def check(self) -> list[Check]:
        """See `Source`."""
        readable = await asyncio.to_thread(os.access, self._root, os.R_OK | os.X_OK)
        detail = "" if readable else f"{self._root} is not a folder that this user may list and read"
        checks = [Check(what=f"list the folder {self._root}", ok=readable, detail=detail, missing_permission="r-x")]
        if self.degraded:
            checks.append(Check(what=f"watch the folder {self._root}", ok=False, detail=self.degraded))
        return checks

    async def close(self) -> None:
        """See `Source`."""
        await self._watch.close()
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.gather(self._sweep, return_exceptions=True)
            self._sweep = None

    async def depth(self) -> int | None:
        """Files known to wait; more may not have been walked yet."""
        return self._watch.ready + len(self._delayed)

    def _sweep_when_due(self) -> None:
        """Forget the paths that are gone for a second time, after each walk through a tree that is not empty: an
        empty one may be a file system that is not mounted just now. A file that was renamed may still be settling
        under its new path, and goes on there by what is known of the old one."""
        if self._swept_walks < self._watch.full_walks and (self._sweep is None or self._sweep.done()):
            self._swept_walks = self._watch.full_walks
            self._sweep = asyncio.create_task(self._forget_what_is_gone(), name=f"sweep-{self.name}")

    async def _forget_what_is_gone(self) -> None:
        after, gone_before, self._gone_before = "", self._gone_before, set()
        try:
            while page := await self._state.read(self._page_after(after)):
                after = page[-1]
                gone = await asyncio.to_thread(self._gone, page)
                again = [key for key in gone if key in gone_before]
                self._gone_before.update(gone)
                if again:
                    await self._state.transact(partial(files.forget, source=self.name, paths=again))
        except Retryable as error:
            occurrences.retrying("receive", error, in_secs=self._config.rescan_secs, source=self.name)

    def _page_after(self, after: str) -> Callable[[Transaction], list[str]]:
        return partial(files.known_after, source=self.name, after=after, limit=SWEEP_PATHS)

    def _gone(self, keys: list[str]) -> list[str]:
        return [key for key in keys if not os.path.lexists(os.path.join(self._root, key))]

    def _let_go(self, keys: Sequence[str] | dict[str, Signature]) -> None:
        for key in keys:
            self._held.pop(key, None)
            if key in self._changed_while_held:
                self._changed_while_held.discard(key)
                self._watch.give_back(key)


def stores(config: Config) -> dict[str, dict[str, Any]]:
    """The files themselves."""
    return {"file": {}}


def build(name: str, config: Config, state: State) -> DirectorySource:
    """The source for this folder; nothing is watched before the first `receive`."""
    return DirectorySource(name, config, state)
