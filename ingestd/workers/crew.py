"""The children of one generation: keeps them alive, gives objects to the one with the least to do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import msgspec

from ingestd.detections.timetable import Timetable
from ingestd.errors import ConfigError, Retryable
from ingestd.model import ChunkResult, LoadedDetection
from ingestd.telemetry import occurrences
from ingestd.workers.answers import OnCall
from ingestd.workers.blame import Case, Death, Deed, Suspects
from ingestd.workers.board import Blame
from ingestd.workers.budget import ByteBudget
from ingestd.workers.codefiles import CodeFiles
from ingestd.workers.deadline import Deadline
from ingestd.workers.generation import Zygote
from ingestd.workers.settings import CodeSpec, PoolSettings
from ingestd.workers.worker import OnResult, Worker

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
"""Seconds between attempts to start a process when the last one failed at once."""


OnSuspended = Callable[[str, str], None]


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of the pool does with what the children send."""

    on_result: OnResult
    on_call: OnCall | None
    on_suspended: OnSuspended


class Crew:
    """Children that share one generation of code. Make with `start`."""

    def __init__(
        self,
        settings: PoolSettings,
        spec: CodeSpec,
        files: CodeFiles,
        zygote: Zygote,
        budget: ByteBudget,
        hooks: Hooks,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._files = files
        self._zygote = zygote
        self._budget = budget
        self._hooks = hooks
        self._workers: list[Worker] = []
        """Those that take objects side by side."""
        self._careful: list[Worker] = []
        """Those that were started for one object alone."""
        self._careful_slots = asyncio.Semaphore(max(1, settings.workers // 2))
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._changed = asyncio.Event()
        self._alive = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._pause = 0.0
        self._closing = False
        self._retiring = False
        self.objects = 0
        """Objects that began in this generation and are not finished."""
        self.suspects = Suspects(
            kills=settings.suspend_kills,
            timeouts=settings.suspend_timeouts,
            window_seconds=settings.suspend_window_seconds,
        )
        self._tasks = [
            asyncio.create_task(self._tend(), name="crew"),
            asyncio.create_task(self._watch(), name="crew deadline"),
        ]

    @staticmethod
    async def start(settings: PoolSettings, spec: CodeSpec, budget: ByteBudget, hooks: Hooks) -> Crew:
        """Load the code and start the children. Raises ConfigError with all that is wrong with the code."""
        files = await asyncio.to_thread(CodeFiles, spec)
        zygote = await Zygote.start(spec, settings)
        crew = Crew(settings, spec, files, zygote, budget, hooks)
        try:
            await crew._alive.wait()
        except BaseException:
            await crew.close()
            raise
        return crew

    # --- for the pool ---------------------------------------------------------------------------------------

    @property
    def description(self) -> dict[str, str | int | float]:
        """What the zygote said about the code that it loaded."""
        return self._zygote.loaded.result().description

    @property
    def detections(self) -> tuple[LoadedDetection, ...]:
        """What the zygote said about each detection."""
        return self._zygote.loaded.result().detections

    @property
    def timetable(self) -> Timetable:
        """What of the code runs by the clock."""
        return self._zygote.loaded.result().timetable

    @property
    def zygote_pid(self) -> int:
        """Process id of the zygote."""
        return self._zygote.pid

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The children at this moment."""
        return (*self._workers, *self._careful)

    @property
    def missing(self) -> int:
        """Children that are being started."""
        return max(0, self._settings.workers - len(self._workers))

    def capacity(self) -> int:
        """How many more objects could begin now."""
        free = sum(self._settings.objects_per_worker - worker.objects for worker in self._workers)
        return max(0, free - len(self._waiting))

    async def take_worker(self) -> Worker:
        """A child for one object in company, until `release`; waits for one."""
        if self._closing:
            raise Retryable("the worker pool is closed")
        worker = None if self._waiting else self._idlest()
        if worker is not None:  # as nearly always: no more was received than children are there for
            worker.objects += 1
            occurrences.object_placed(0.0)
            return worker
        since = time.monotonic()
        worker = await self._turn()
        occurrences.object_placed(time.monotonic() - since)
        return worker

    def release(self, worker: Worker) -> None:
        """The object that was given to this child is finished with it."""
        worker.objects -= 1
        self._hand_out()

    @contextlib.asynccontextmanager
    async def worker_alone(self) -> AsyncIterator[Worker]:
        """A child of its own for one object; waits for one."""
        async with self._careful_slots, self._started_alone() as worker:
            yield worker

    def begin(self) -> None:
        """An object begins that is to `end` in this generation, however often it has to begin."""
        self.objects += 1
        self._idle.clear()

    def end(self) -> None:
        """It has ended."""
        self.objects -= 1
        if not self.objects:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no object is under way."""
        await self._idle.wait()

    def blame(self, case: Case, death: Death) -> None:
        """A child died under an object: decide how the object goes on, and whether a detection goes on at all."""
        noted = case.careful and death.place.rule
        culprit = case.died(death)
        if culprit is not None:
            self._suspect(culprit[1], "kill", f"it ended {self._settings.suspend_kills} worker processes")
        elif noted:
            self._suspect(noted, "presence", "worker processes keep ending while it runs")

    async def retire(self) -> None:
        """End when nothing is under way: each child by itself, then the zygote. Should the zygote die before that,
        and its code be gone, objects under way raise Retryable and may begin again in the next generation."""
        self._retiring = True
        await self._idle.wait()
        await self._end_tasks()
        await asyncio.gather(*(worker.close() for worker in self.workers))
        await self.close()

    async def close(self) -> None:
        """End everything now. Idempotent."""
        await self._end_tasks()
        await self._zygote.close()
        await asyncio.gather(*(worker.abandon() for worker in self.workers))
        self._send_away()
        await self._idle.wait()

    def _send_away(self) -> None:
        """Nothing is started any more: tell who waits for a child."""
        self._closing = True
        self._alive.set()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(Retryable("the worker pool is closed"))
        self._waiting.clear()

    async def _end_tasks(self) -> None:
        """From here on nothing is started any more."""
        self._closing = True
        self._alive.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- placing --------------------------------------------------------------------------------------------

    async def _turn(self) -> Worker:
        """Wait for a child behind those who wait already."""
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())
            raise

    def _hand_out(self) -> None:
        """Give free children to those who wait, in turn."""
        while self._waiting:
            if self._waiting[0].done():  # it does not wait any more
                self._waiting.popleft()
                continue
            worker = self._idlest()
            if worker is None:
                return
            worker.objects += 1
            self._waiting.popleft().set_result(worker)

    def _idlest(self) -> Worker | None:
        """Of the children that take one more object, the one with the least to do."""
        most = self._settings.objects_per_worker
        free = [worker for worker in self._workers if worker.objects < most and worker.accepts]
        return min(free, key=lambda worker: (worker.in_flight, worker.objects), default=None)

    @contextlib.asynccontextmanager
    async def _started_alone(self) -> AsyncIterator[Worker]:
        while True:
            await self._alive.wait()
            if self._closing:
                raise Retryable("the worker pool is closed")
            with contextlib.suppress(Retryable, OSError):
                worker = await self._start_worker()
                break
            await asyncio.sleep(_FIRST_PAUSE)  # the process table is full, or the zygote is dying
        self._careful.append(worker)
        try:
            yield worker
        finally:
            await worker.close()
            self._careful.remove(worker)

    # --- keeping alive --------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Start what is missing, again and again."""
        while True:
            self._changed.clear()
            try:
                if self._zygote.died.is_set():
                    await self._replace_zygote()
                while self.missing:
                    worker = await self._start_worker()
                    self._workers.append(worker)
                    self._hand_out()
                self._alive.set()
            except (Retryable, ConfigError, OSError) as error:
                self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                occurrences.retrying("worker", error, in_secs=self._pause)
                if self._retiring and self._zygote.died.is_set():
                    self._send_away()
                    return
                await asyncio.sleep(self._pause)
                continue
            await self._changed.wait()
            await asyncio.sleep(self._pause)

    async def _replace_zygote(self) -> None:
        self._alive.clear()
        pid = self._zygote.pid
        await self._zygote.close()
        await asyncio.to_thread(self._files.check)  # half an edit must not go live without a reload
        zygote = await Zygote.start(self._spec, self._settings)
        try:
            await asyncio.to_thread(self._files.check)
        except BaseException:
            await zygote.close()
            raise
        self._zygote = zygote
        occurrences.worker_replaced("zygote", pid=pid)

    async def _start_worker(self) -> Worker:
        worker = await Worker.start(self._zygote, self._budget, self._take_result, self._hooks.on_call)
        worker.suspend(self.suspects.suspended)
        worker.ended.add_done_callback(lambda ended: self._ended(worker, ended.result()))
        occurrences.worker_started(worker.pid)
        return worker

    def _ended(self, worker: Worker, death: Death) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        if not self._closing and not worker.closing:
            reason: Literal["stuck", "memory", "died"] = "stuck" if worker.stuck else "died"
            if death.place.blame in {Blame.MEMORY, Blame.FULL}:
                reason = "memory"
            occurrences.worker_replaced(reason, pid=worker.pid, rule=death.place.rule or None, detail=death.detail)
        # Children that end before they were given anything are a mistake of ours or of the machine: no hurry then.
        hopeless = not worker.used and not worker.closing
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE) if hopeless else 0.0
        self._changed.set()

    # --- detections that misbehave --------------------------------------------------------------------------

    async def _take_result(self, result: ChunkResult) -> None:
        for rule, count in result.rule_timeouts.items():
            self._suspect(rule, "timeout", f"it ran out of time {self._settings.suspend_timeouts} times", count)
        await self._hooks.on_result(result)

    def _suspect(self, rule: str, what: Deed, reason: str, count: int = 1) -> None:
        if self.suspects.add(rule, what, time.monotonic(), count):
            for worker in self.workers:
                worker.suspend(self.suspects.suspended)
            self._hooks.on_suspended(rule, reason)

    async def _watch(self) -> None:
        """End children that come no further."""
        interval = min(1.0, self._settings.chunk_seconds / 5)
        deadlines: dict[Worker, Deadline] = {}
        while True:
            await asyncio.sleep(interval)
            workers = [worker for worker in self.workers if not worker.ended.done()]
            deadlines = {w: deadlines.get(w) or Deadline(w, self._settings.chunk_seconds) for w in workers}
            for worker, deadline in deadlines.items():
                if deadline.expired(interval):
                    worker.kill()
