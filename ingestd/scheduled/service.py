"""Work by the clock in the daemon: what is due is done, and what it gives is read like any source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ingestd import assembly
from ingestd.config.models import Root
from ingestd.detections.timetable import Timetable
from ingestd.fleet import Built, Fleet
from ingestd.forever import for_ever
from ingestd.pipeline import Keeper
from ingestd.reading import Shared
from ingestd.refresh import published
from ingestd.scheduled import results
from ingestd.scheduled.turns import LOOK_SECS, Scheduling
from ingestd.state.base import State
from ingestd.telemetry.health import Health

MOST_ROUNDS = 10
"""Of `settle`: a correlation rule may wait for another one."""


class Schedule:
    """`begin` and `end` while the daemon runs, or `settle` when it drains what is there."""

    def __init__(
        self,
        root: Root,
        shared: Shared,
        state: State,
        health: Health,
        keeper: Keeper,
        timetable: Callable[[], Timetable],
    ) -> None:
        self._state = state
        self._epoch = lambda: shared.ledger.epoch
        self._source: results.ResultSource | None = None
        self._scheduling = Scheduling(
            state, assembly.scheduled_lake(root), timetable=timetable, epoch=self._epoch, wake=self._wake
        )
        self._fleet = Fleet(shared, state, health, keeper, self._build)
        self._looking: list[asyncio.Task[None]] = []
        self._timetable = timetable
        self._publisher = assembly.publisher(root)
        self._root = root

    def begin(self, root: Root) -> None:
        """Do what is due from now on."""
        self._start(root, once=False)
        turns = ((self._scheduling.turn, LOOK_SECS), (self._fetch, published.LOOK_SECS))
        self._looking = [
            asyncio.create_task(for_ever(turn, "schedule", every_secs=secs), name="schedule") for turn, secs in turns
        ]

    async def settle(self, root: Root) -> None:
        """Do what is due now, and what that makes due, to its end."""
        await self._scheduling.learn()
        now = time.time()
        for _ in range(MOST_ROUNDS):
            found = await self._scheduling.settle(now)
            self._start(root, once=True)
            await self._fleet.all_ended.wait()
            await self._fleet.end_all(root.shutdown_secs)
            self._fleet.all_ended.clear()
            if not found:
                return

    async def change(self, root: Root) -> None:
        """Take what a reload changed."""
        self._scheduling.lake = assembly.scheduled_lake(root)
        if (root.enrichment, root.sources) != (self._root.enrichment, self._root.sources):
            old, self._publisher = self._publisher, assembly.publisher(root)
            if old is not None:
                await old.close()
        self._root = root

    async def _fetch(self) -> None:
        if self._publisher is not None:
            await self._publisher.turn(self._timetable().tables)

    async def sweep(self) -> None:
        """Forget what is old."""
        await self._scheduling.sweep()

    async def end(self, deadline_secs: float) -> None:
        """Begin nothing more, and let what was begun be committed. Idempotent."""
        await self.close()
        await self._fleet.end_all(deadline_secs)

    async def close(self) -> None:
        """Break off turns that are under way: they are done again. Idempotent."""
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        await self._scheduling.close()
        if self._publisher is not None:
            await self._publisher.close()

    def _wake(self) -> None:
        if self._source is not None:
            self._source.wake()

    def _start(self, root: Root, *, once: bool) -> None:
        with_results = root.model_copy(update={"sources": {results.NAME: results.config()}})
        self._fleet.begin(with_results, self._fleet.build(with_results, [results.NAME]), once=once)

    def _build(self, _name: str, _root: Root, state: State) -> Built:
        self._source = results.ResultSource(state, self._epoch)
        return Built(source=self._source, stores={results.STORE: results.ResultStore(state)})
