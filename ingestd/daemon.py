"""The daemon: builds the rooms from the configuration, runs them, and stops them in order.

Start, bottom up: state, ledger, lake (what a crash left is finished first), alerts, workers, sources, admin port.
Stop, top down: sources receive no more; what was begun is read, committed and acknowledged until the deadline, the
rest given back; alerts that are due are sent; then everything closes.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from ingestd import __version__, assembly, garbage
from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.recorder import DAY_SECS
from ingestd.config.models import Root
from ingestd.delivering import Delivering
from ingestd.errors import ConfigError, Retryable
from ingestd.fleet import Builder, Fleet, configured
from ingestd.forever import for_ever
from ingestd.generations import Generations
from ingestd.lake.files import LocalFiles
from ingestd.lake.writer import Writer
from ingestd.ledger import Ledger
from ingestd.pipeline import Keeper
from ingestd.reading import Shared
from ingestd.reload import Coalesced, changed, needs_restart
from ingestd.rule_calls import RuleCalls, RuleSecrets
from ingestd.scheduled.service import Schedule
from ingestd.state import history
from ingestd.state.base import State
from ingestd.state.kv import RuleStore
from ingestd.state.sqlite import SqliteState
from ingestd.telemetry import catalogue, drift, health, http, logs, loop, notify, occurrences, stall, summary
from ingestd.workers.pool import Pool

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_AT_ONCE = 130
"""After a second SIGTERM or SIGINT."""
SHARE_FOR_SOURCES = 0.8
"""Part of the shutdown time for reading, committing and acknowledging; what is left is for the alerts."""
LOOK_AROUND_SECS = 60.0
SWEEP_SECS = 3600.0
SWEEP_ROWS = 1_000
CLOSING_SECS = 10.0
"""What closing may take after the shutdown time: lanes end their sends, connections close."""
GAUGE_SECS = 1.0
DEPTH_SECS = 15.0
ONCE_ALERTS_SECS = 60.0
"""How long `run --once` waits for destinations."""


Loader = Callable[[Path], Root]


def run(
    file: Path,
    *,
    once: bool = False,
    load: Loader = assembly.load_checked,
    build: Builder = configured,
    scheduled: bool = True,
) -> int:
    """Run the daemon on this configuration until it is told to stop; the exit code. `load` reads the configuration,
    at a reload too; `build` makes the sources; `scheduled` is whether it does work by the clock too.

    Raises `ConfigError` with every mistake, `Retryable` when something that it needs to start is not there.
    """
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stacks behind
    garbage.look_rarely()
    root = load(file)
    logs.configure(root.logging.level, root.logging.format, fold_secs=root.logging.fold_secs)
    return uvloop.run(Daemon(file, root, load=load, build=build, scheduled=scheduled).run(once=once))


class Daemon:
    """One run of the daemon. `run` may be called once."""

    def __init__(
        self,
        file: Path,
        root: Root,
        *,
        load: Loader = assembly.load_checked,
        build: Builder = configured,
        scheduled: bool = True,
    ) -> None:
        self._file = file
        self._load = load
        self._build = build
        self._root = root
        self._scheduled = scheduled
        self._health = health.Health()
        self._stop = asyncio.Event()
        self._stop_reason = "nothing left to read"
        self._started = False
        self._supervisor = notify.Notifier.from_environment()
        self._fleet: Fleet
        self._reloads: set[asyncio.Future[list[str]]] = set()
        self.reload = Coalesced(self._reload)
        """Put the configuration as it is now in place; its problems, empty when it was applied."""

    async def run(self, *, once: bool = False) -> int:
        """Start, work, stop; the exit code."""
        async with AsyncExitStack() as closing:
            self._on_signals()
            await self._start(closing)
            self._fleet.begin(self._root, self._fleet.build(self._root, self._root.sources), once=once)
            workers = assembly.pool_settings(self._root).workers
            if self._scheduled and not once:
                self._schedule.begin(self._root)
            if not once:
                self._beside(garbage.look_now_and_then(), "garbage", closing)
            self._started = True
            occurrences.daemon_started(version=__version__, sources=len(self._fleet), workers=workers)
            self._supervisor.ready()
            await self._until_done()
            if self._scheduled and once:
                await self._unless_stopped(self._schedule.settle(self._root))
            await self._drain(once=once)
        logs.flush_folded(everything=True)
        occurrences.daemon_stopped(reason=self._stop_reason)
        return EXIT_FAILED if self._fleet.failed else EXIT_OK

    # --- start ----------------------------------------------------------------------------------------------

    async def _start(self, closing: AsyncExitStack) -> None:
        """Build everything but the sources; `closing` undoes it in the opposite order."""
        root = self._root
        self._beside(loop.watch(self._health), "pulse", closing)
        await self._serve_admin(closing)

        state: State = await asyncio.to_thread(SqliteState.open, root.state.path)
        closing.push_async_callback(state.close)
        self._state = state
        dedup = assembly.message_dedup_secs(root)
        ledger = await Ledger.open(
            state, root.state.path.parent, lease_secs=root.state.lease_secs, message_dedup_secs=dedup
        )
        closing.push_async_callback(ledger.close)
        self._ledger = ledger
        self._health.component("state").ok()

        self._writer = Writer(
            assembly.writer_settings(root), LocalFiles(Path(root.lake.url)), ledger, self._health.component("lake")
        )
        closing.push_async_callback(self._writer.close)
        await self._writer.recover()
        self._health.component("lake").ok()

        self._delivery = Delivering(state, ledger, self._health)
        closing.push_async_callback(self._delivery.close)
        await self._delivery.replace(root, self._delivery.build(root))
        self._rule_calls = RuleCalls(RuleStore(state), RuleSecrets(root.detections.secrets))
        keeper = Keeper(self._delivery.alerts, self._writer, self._health)
        self._pool = Pool(
            assembly.pool_settings(root),
            keeper.keep,
            self._rule_calls.answer,
        )
        closing.push_async_callback(self._pool.close)
        self._generations = Generations(self._pool, self._code_loaded)
        await self._generations.start(root)
        self._health.component("workers").ok()

        shared = Shared(ledger=ledger, pool=self._pool, writer=self._writer)
        self._fleet = Fleet(shared, state, self._health, keeper, self._build)
        self._schedule = Schedule(root, shared, state, self._health, keeper, lambda: self._pool.timetable)
        closing.push_async_callback(self._schedule.close)
        turns: list[tuple[Callable[[], Awaitable[None]], float | Callable[[], float]]] = [
            (partial(self._forget_old, ledger), SWEEP_SECS),
            (partial(self._show_health, ledger), GAUGE_SECS),
            (self._fleet.show_depths, DEPTH_SECS),
            (self._generations.refresh, lambda: self._generations.refresh_secs),
        ]
        self._looking_around = asyncio.create_task(
            for_ever(self._writer.recover, "daemon", every_secs=LOOK_AROUND_SECS), name="look around"
        )
        closing.push_async_callback(_cancelled, self._looking_around)
        for turn, every_secs in turns:
            self._beside(for_ever(turn, "daemon", every_secs=every_secs), "housekeeping", closing)
        stalled = stall.Stall(self._health, in_hand=lambda: bool(self._fleet.reading) or self._writer.is_committing)
        self._beside(stalled.watch(), "stall watch", closing)
        signs = notify.beat(
            self._supervisor, status=summary.Summary(self._health).line, moving=lambda: not stalled.hopeless
        )
        closing.push_async_callback(_cancelled, asyncio.create_task(signs, name="supervisor"))

    async def _code_loaded(self) -> None:
        """Tell what the workers have loaded, and note it in the history of detections."""
        occurrences.code_loaded(self._pool.description)
        loaded, now = self._pool.detections, time.time()
        try:
            await self._state.transact(lambda tx: history.record(tx, loaded, now))
        except Retryable as error:  # a gap in the history; the next load fills it with what holds then
            occurrences.internal_error("daemon", error, task="history of detections")

    async def _serve_admin(self, closing: AsyncExitStack) -> None:
        settings = assembly.admin_settings(self._root.http)
        if settings is None:
            return
        server = http.AdminServer(settings, self._health, status=self._status, reload=self.reload)
        await server.start()
        closing.push_async_callback(server.close)

    def _status(self) -> dict[str, Any]:
        sources = {"sources": self._fleet.facts()} if hasattr(self, "_fleet") else {}
        return {**sources, "drift": drift.SEEN.as_json()}

    def _beside(self, work: Coroutine[Any, Any, None], name: str, closing: AsyncExitStack) -> None:
        """Run a task until `closing`; should it end before, that is a mistake of ours and told."""
        task = asyncio.create_task(work, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                occurrences.internal_error("daemon", error, task=name)

        task.add_done_callback(ended)
        closing.push_async_callback(_cancelled, task)

    # --- work -----------------------------------------------------------------------------------------------

    async def _until_done(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._stop, self._fleet.all_ended)]
        if len(self._fleet):
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work to its end, or until the daemon is told to stop."""
        task, stop = asyncio.create_task(work, name="settle"), asyncio.create_task(self._stop.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            await _cancelled(task)
        elif (error := task.exception()) is not None:
            raise error

    async def _forget_old(self, ledger: Ledger) -> None:
        """Forget what is older than the retention."""
        retention = self._root.state.retention_days * DAY_SECS
        await ledger.sweep(retention)
        await self._delivery.alerts.sweep(retention)
        await self._schedule.sweep()
        await self._sweep_history()

    async def _sweep_history(self) -> None:
        before = time.time() - self._root.detections.history_days * DAY_SECS
        while await self._state.transact(lambda tx: history.sweep(tx, before=before, limit=SWEEP_ROWS)):
            pass

    async def _show_health(self, ledger: Ledger) -> None:
        """Keep the states and gauges that only someone who asks can set."""
        pool = self._pool.stats()
        workers, state_store = self._health.component("workers"), self._health.component("state")
        if pool.busy or pool.idle:
            workers.ok()
        else:
            workers.failing("no worker runs; the log says why")
        if ledger.trouble:
            state_store.failing(ledger.trouble)
        else:
            state_store.ok()
        for state, count in (("busy", pool.busy), ("idle", pool.idle), ("starting", pool.starting)):
            catalogue.WORKERS.labels(state=state).set(count)

    # --- reload ---------------------------------------------------------------------------------------------

    async def _reload(self) -> list[str]:
        """Apply the configuration as it lies there now, or refuse it whole; its problems."""
        if not self._started:
            return ["the daemon is still starting"]
        self._supervisor.reloading()
        try:
            new = await asyncio.to_thread(self._load, self._file)
            problems = needs_restart(self._root, new)
            if problems:
                raise ConfigError(problems)
            await self._apply(new)
        except ConfigError as error:
            occurrences.reload_refused(error.problems)
            return [str(problem) for problem in error.problems]
        except Retryable as error:
            occurrences.reload_refused([str(error)])
            return [str(error)]
        finally:
            self._supervisor.ready()
        occurrences.reload_applied(**self._pool.description)
        return []

    async def _apply(self, new: Root) -> None:
        """Build what changed beside the old; once the workers have taken the new code, nothing can fail."""
        old = self._root
        ends, begins = changed(old.sources, new.sources)
        sources = self._fleet.build(new, begins)
        destinations: dict[str, Destination] | None = None
        secrets = self._rule_calls.secrets
        try:
            if old.destinations != new.destinations:
                destinations = self._delivery.build(new)
            if old.detections.secrets != new.detections.secrets:  # before workers of the new generation ask
                self._rule_calls.secrets = RuleSecrets(new.detections.secrets)
            await self._generations.change(new)
        except BaseException:
            self._rule_calls.secrets = secrets
            for source in sources.values():
                await source.close()
            for destination in (destinations or {}).values():
                await destination.close()
            raise
        self._root = new
        if old.logging != new.logging:
            logs.configure(new.logging.level, new.logging.format, fold_secs=new.logging.fold_secs)
        self._delivery.alerts.max_per_hour = new.alerts.max_per_hour
        self._writer.settings = assembly.writer_settings(new)
        await self._schedule.change(new)
        self._ledger.message_dedup_secs = assembly.message_dedup_secs(new)
        if destinations is not None:
            await self._delivery.replace(new, destinations)
        await self._fleet.end(ends, new.shutdown_secs)
        for name in old.sources.keys() - new.sources.keys():
            self._health.forget("source", name)
            catalogue.forget(source=name)
        self._fleet.begin(new, sources)

    # --- stop -----------------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        event_loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            event_loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)
        event_loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _signalled(self, name: str) -> None:
        """The first asks for a drain; the second ends the process where it stands, which loses nothing."""
        if self._stop.is_set():
            os._exit(EXIT_AT_ONCE)
        self.stop(name)

    def stop(self, reason: str) -> None:
        """Drain, then end `run`."""
        self._stop_reason = reason
        self._stop.set()

    @property
    def ready(self) -> bool:
        """Whether work is taken."""
        return not self._health.why_not_ready()

    def _hung_up(self) -> None:
        if not self._started:
            return  # the configuration is being read this very moment
        task = asyncio.ensure_future(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _drain(self, *, once: bool) -> None:
        seconds = self._root.shutdown_secs
        ends = time.monotonic() + seconds
        self._health.draining = True
        occurrences.daemon_stopping(self._stop_reason, deadline_secs=seconds)
        self._supervisor.stopping(within_secs=seconds + CLOSING_SECS)
        await self.reload.close("the daemon is stopping")
        given_back = await self._fleet.end_all(SHARE_FOR_SOURCES * seconds)
        await self._schedule.end(max(1.0, ends - time.monotonic()))
        if given_back:
            occurrences.drain_incomplete(given_back, deadline_secs=seconds)
        await _cancelled(self._looking_around)  # it publishes with the writer's threads
        await self._writer.close(max(1.0, ends - time.monotonic()))  # before the workers: one may wait for the lake
        left = max(1.0, ends - time.monotonic())
        await self._delivery.drain(ONCE_ALERTS_SECS if once and not self._stop.is_set() else left)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
