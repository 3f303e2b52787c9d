"""The daemon: builds the rooms from the configuration, runs them, and stops them in order.

Start, bottom up: state, ledger, lake (what a crash left is finished first), alerts, workers, sources, admin port.
Stop, top down: sources receive no more; what was begun is read, committed and acknowledged until the deadline, the
rest given back; alerts that are due are sent; then everything closes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from ingestd import __version__, assembly
from ingestd.alerts.outbox import Outbox
from ingestd.alerts.recorder import DAY_SECS, Alerts
from ingestd.alerts.routing import Routing
from ingestd.config.load import load
from ingestd.config.models import Root
from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.lake.files import LocalFiles
from ingestd.lake.writer import Writer
from ingestd.ledger import Ledger
from ingestd.pipeline import Keeper, Pipeline
from ingestd.reading import Shared
from ingestd.sources.base import Source
from ingestd.state.base import State
from ingestd.state.kv import RuleStore
from ingestd.state.sqlite import SqliteState
from ingestd.stores.base import Store
from ingestd.stores.file import FileStore
from ingestd.telemetry import catalogue, health, http, logs, loop, occurrences
from ingestd.workers.pool import Pool

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_AT_ONCE = 130
"""After a second SIGTERM or SIGINT."""
SHARE_FOR_COMMIT = 0.7
"""Part of the shutdown time for reading on; what is left is for the commit, the acknowledgements and the alerts."""
READING_PER_WORKER = 32
"""Objects opened at once per worker: enough that small ones keep it busy."""
LOOK_AROUND_SECS = 60.0
TURNS_PER_SWEEP = 60
GAUGE_SECS = 1.0
TURNS_PER_DEPTH = 15
ONCE_ALERTS_SECS = 60.0
"""How long `run --once` waits for destinations."""


def run(file: Path, *, once: bool = False) -> int:
    """Run the daemon on this configuration until it is told to stop; the exit code.

    Raises `ConfigError` with every mistake, `Retryable` when something that it needs to start is not there.
    """
    root = load(file)
    logs.configure(root.logging.level, root.logging.format, fold_secs=root.logging.fold_secs)
    return uvloop.run(Daemon(root).run(once=once))


class Daemon:
    """One run of the daemon. `run` may be called once."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._health = health.Health()
        self._stop = asyncio.Event()
        self._stop_reason = "nothing left to read"
        self._pipelines: list[Pipeline] = []
        self._failed_sources: list[str] = []

    async def run(self, *, once: bool = False) -> int:
        """Start, work, stop; the exit code."""
        async with AsyncExitStack() as closing:
            self._on_signals()
            await self._start(closing)
            sources = [asyncio.create_task(self._run_source(pipeline, once=once)) for pipeline in self._pipelines]
            occurrences.daemon_started(
                version=__version__, sources=len(sources), workers=assembly.pool_settings(self._root).workers
            )
            await self._until_done(sources)
            await self._drain(sources, once=once)
        logs.flush_folded(everything=True)
        occurrences.daemon_stopped(reason=self._stop_reason)
        return EXIT_FAILED if self._failed_sources else EXIT_OK

    # --- start ----------------------------------------------------------------------------------------------

    async def _start(self, closing: AsyncExitStack) -> None:
        """Build everything; `closing` undoes it in the opposite order."""
        root = self._root
        self._beside(loop.watch(self._health), "pulse", closing)
        await self._serve_admin(closing)

        state: State = await asyncio.to_thread(SqliteState.open, root.state.path)
        closing.push_async_callback(state.close)
        dedup = max((source.message_dedup_secs for source in root.sources.values()), default=3600.0)
        ledger = await Ledger.open(state, root.state.path.parent, message_dedup_secs=dedup)
        closing.push_async_callback(ledger.close)
        self._health.component("state").ok()

        self._writer = Writer(assembly.writer_settings(root), LocalFiles(Path(root.lake.url)), ledger)
        closing.push_async_callback(self._writer.close)
        await self._writer.recover()
        self._health.component("lake").ok()

        alerts = await self._start_alerts(state, ledger, closing)
        self._pool = Pool(
            assembly.pool_settings(root),
            Keeper(alerts, self._writer, self._health).keep,
            assembly.RuleCalls(RuleStore(state)).answer,
        )
        closing.push_async_callback(self._pool.close)
        await self._pool.start(assembly.code_spec(root))
        occurrences.code_loaded(self._pool.description)
        self._health.component("workers").ok()

        self._build_pipelines(state, ledger, closing)
        self._beside(self._keep_house(alerts, ledger), "housekeeping", closing)
        self._beside(self._show_gauges(), "gauges", closing)

    async def _start_alerts(self, state: State, ledger: Ledger, closing: AsyncExitStack) -> Alerts:
        destinations = {name: assembly.destination(name, self._root) for name in self._root.destinations}
        for destination in destinations.values():
            closing.push_async_callback(destination.close)
        lanes = {name: assembly.lane_settings(name, self._root) for name in destinations}
        self._outbox = Outbox(state, destinations, lanes, epoch=lambda: ledger.epoch, health=self._health)
        self._beside(self._outbox.run(), "outbox", closing)
        return Alerts(
            state,
            Routing.from_configs(self._root.destinations),
            max_per_hour=self._root.alerts.max_per_hour,
            on_due=self._outbox.wake,
        )

    def _build_pipelines(self, state: State, ledger: Ledger, closing: AsyncExitStack) -> None:
        stores: dict[str, Store] = {"file": FileStore()}
        for store in stores.values():
            closing.push_async_callback(store.close)
        shared = Shared(stores=stores, ledger=ledger, pool=self._pool, writer=self._writer)
        limit = READING_PER_WORKER * assembly.pool_settings(self._root).workers
        for name, config in self._root.sources.items():
            source = assembly.source(name, self._root, state)
            closing.push_async_callback(source.close)
            component = self._health.component("source", name)
            self._pipelines.append(Pipeline(source, config, shared, component, reading_limit=limit))

    async def _serve_admin(self, closing: AsyncExitStack) -> None:
        settings = assembly.admin_settings(self._root.http)
        if settings is None:
            return
        server = http.AdminServer(settings, self._health, status=self._status)
        await server.start()
        closing.push_async_callback(server.close)

    def _status(self) -> dict[str, Any]:
        return {"sources": {pipeline.source.name: pipeline.facts() for pipeline in self._pipelines}}

    def _beside(self, work: Coroutine[Any, Any, None], name: str, closing: AsyncExitStack) -> None:
        """Run a task until `closing`; should it end before, that is a mistake of ours and told."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                occurrences.internal_error("daemon", error, task=name)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task.add_done_callback(ended)
        closing.push_async_callback(end)

    # --- work -----------------------------------------------------------------------------------------------

    async def _run_source(self, pipeline: Pipeline, *, once: bool) -> None:
        """One source; its end is no other's."""
        component = self._health.component("source", pipeline.source.name)
        try:
            await pipeline.run(once=once)
        except (Permanent, ConfigError) as error:
            self._failed_sources.append(pipeline.source.name)
            component.failed(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one source must not stop the others
            self._failed_sources.append(pipeline.source.name)
            component.failed(error)
            occurrences.internal_error("receive", error, source=pipeline.source.name)

    async def _until_done(self, sources: list[asyncio.Task[None]]) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        working = asyncio.create_task(asyncio.wait(sources) if sources else asyncio.sleep(0))
        await asyncio.wait([stopping, working], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()

    async def _keep_house(self, alerts: Alerts, ledger: Ledger) -> None:
        """Finish what dead daemons left, and now and then forget what is older than the retention."""
        retention = self._root.state.retention_days * DAY_SECS
        for turn in itertools.count():
            try:
                await self._writer.recover()
                if turn % TURNS_PER_SWEEP == 0:
                    await ledger.sweep(retention)
                    await alerts.sweep(retention)
            except Retryable as error:
                occurrences.retrying("daemon", error, in_secs=LOOK_AROUND_SECS)
            await asyncio.sleep(LOOK_AROUND_SECS)

    async def _show_gauges(self) -> None:
        """Keep the gauges that only someone who asks can set."""
        for turn in itertools.count():
            pool = self._pool.stats()
            for state, count in (("busy", pool.busy), ("idle", pool.idle), ("starting", pool.starting)):
                catalogue.WORKERS.labels(state=state).set(count)
            if turn % TURNS_PER_DEPTH == 0:
                for pipeline in self._pipelines:
                    await self._show_depth(pipeline.source)
            await asyncio.sleep(GAUGE_SECS)

    async def _show_depth(self, source: Source) -> None:
        try:
            depth = await source.depth()
        except Retryable:
            return  # the receiver meets the same trouble, and tells of it
        if depth is not None:
            catalogue.QUEUE_DEPTH.labels(source=source.name).set(depth)

    # --- stop -----------------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        event_loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            event_loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)

    def _signalled(self, name: str) -> None:
        """The first asks for a drain; the second ends the process where it stands, which loses nothing."""
        if self._stop.is_set():
            os._exit(EXIT_AT_ONCE)
        self._stop_reason = name
        self._stop.set()

    async def _drain(self, sources: list[asyncio.Task[None]], *, once: bool) -> None:
        seconds = self._root.shutdown_secs
        ends = time.monotonic() + seconds
        self._health.draining = True
        occurrences.daemon_stopping(self._stop_reason, deadline_secs=seconds)
        for pipeline in self._pipelines:
            pipeline.stop()
        given_back = await asyncio.gather(
            *(pipeline.drain(time.monotonic() + SHARE_FOR_COMMIT * seconds) for pipeline in self._pipelines)
        )
        if sum(given_back):
            occurrences.drain_incomplete(sum(given_back), deadline_secs=seconds)
        for task in sources:
            task.cancel()
        await asyncio.gather(*sources, return_exceptions=True)
        left = max(1.0, ends - time.monotonic())
        await self._outbox.drain(ONCE_ALERTS_SECS if once and not self._stop.is_set() else left)
