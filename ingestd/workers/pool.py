"""The parent's side of the boundary: objects in, results out, whatever becomes of the children.

    pool = Pool(settings, on_result, on_call)
    await pool.start(spec)
    done = await pool.run(task, body)

`run` returns when a child has come to the end of the object and every result with rows of it has been passed through
`on_result`, which is awaited: that is the back-pressure. A child that dies is replaced and its objects run again from
their start, leaving out what was returned; `workers.blame` finds who killed it.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from ingestd.detections.timetable import Timetable
from ingestd.errors import Retryable
from ingestd.model import LoadedDetection, ObjectDone, ObjectTask
from ingestd.telemetry import occurrences
from ingestd.workers.answers import OnCall
from ingestd.workers.blame import Case
from ingestd.workers.budget import ByteBudget
from ingestd.workers.crew import Crew, Hooks, OnSuspended
from ingestd.workers.settings import CodeSpec, PoolSettings
from ingestd.workers.worker import Body, OnResult, WorkerDied


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """The pool at this moment."""

    busy: int
    """Children with objects."""
    idle: int
    starting: int
    objects: int
    """Under way, those that wait for a child included."""
    in_flight_bytes: int
    suspended: tuple[str, ...]
    """Detections that do not run until the next reload."""


class Pool:
    """Runs objects in child processes. All methods belong to one event loop, in a thread that outlives the pool."""

    def __init__(
        self,
        settings: PoolSettings,
        on_result: OnResult,
        on_call: OnCall | None = None,
        on_suspended: OnSuspended = occurrences.detection_suspended,
    ) -> None:
        """`on_result` gets every result, one at a time per child. `on_call` answers what detections ask for.
        `on_suspended` is called with a detection's id and the reason."""
        self._settings = settings
        self._hooks = Hooks(on_result=on_result, on_call=on_call, on_suspended=on_suspended)
        self._budget = ByteBudget(settings.in_flight_bytes)
        self._crew: Crew | None = None
        self._old: dict[Crew, asyncio.Task[None]] = {}
        self._closed = False

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self, spec: CodeSpec) -> None:
        """Load the code and start the children. Raises ConfigError with all problems that loading found."""
        await self.reload(spec)

    async def reload(self, spec: CodeSpec) -> None:
        """Take new objects to a new generation of code; what is under way ends in its own. Raises ConfigError with
        all problems, and then nothing has changed."""
        crew = await Crew.start(self._settings, spec, self._budget, self._hooks)
        if self._closed:
            await crew.close()
            raise Retryable("the worker pool is closed")
        old, self._crew = self._crew, crew
        if old is not None:
            retiring = self._old[old] = asyncio.create_task(old.retire(), name="retire generation")
            retiring.add_done_callback(lambda _: self._old.pop(old, None))

    async def close(self, deadline: float = 0.0) -> None:
        """Wait up to `deadline` seconds for what is under way, then end everything within a few more, even if
        `on_result` does not come back: then it is cancelled. Objects that are cut off raise Retryable at their `run`.
        Idempotent."""
        self._closed = True
        crews = self._crews()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.gather(*(crew.idle() for crew in crews))
        retiring = list(self._old.values())
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        await asyncio.gather(*(crew.close() for crew in crews))
        self._crew = None

    # --- work -----------------------------------------------------------------------------------------------

    async def run(self, task: ObjectTask, body: Body) -> ObjectDone:
        """Take one object through a child. `body` is all of it, or opens it from its start, again after a child died.
        Raises what reading it raised, after everything made of the object so far was passed on; Retryable when the
        pool closes."""
        crew = self._crew
        if crew is None or self._closed:
            raise Retryable("the worker pool is closed")
        case = Case(task)
        crew.begin()
        try:
            while True:
                try:
                    return await self._attempt(crew, case, body)
                except WorkerDied as died:
                    crew.blame(case, died.death)
        finally:
            crew.end()

    async def _attempt(self, crew: Crew, case: Case, body: Body) -> ObjectDone:
        """In company, or alone in a child of its own once a child died over it."""
        if case.careful:
            async with crew.worker_alone() as worker:
                return await worker.process(case.opening(), body, case.returned)
        worker = await crew.take_worker()
        try:
            return await worker.process(case.opening(), body, case.returned)
        finally:
            crew.release(worker)

    # --- state ----------------------------------------------------------------------------------------------

    @property
    def description(self) -> dict[str, str | int | float]:
        """What is loaded: `detections`, `log_types`, `version`, `seconds`."""
        return {} if self._crew is None else self._crew.description

    @property
    def detections(self) -> tuple[LoadedDetection, ...]:
        """Each detection that is known, enabled or not."""
        return () if self._crew is None else self._crew.detections

    @property
    def timetable(self) -> Timetable:
        """What of the code runs by the clock, for the daemon to run."""
        return Timetable() if self._crew is None else self._crew.timetable

    def idle_capacity(self) -> int:
        """How many more objects could begin now; a receiver asks for no more than that."""
        return 0 if self._crew is None or self._closed else self._crew.capacity()

    def stats(self) -> PoolStats:
        """The pool at this moment, older generations included."""
        crews = self._crews()
        workers = [worker for crew in crews for worker in crew.workers]
        busy = sum(1 for worker in workers if worker.streams)
        return PoolStats(
            busy=busy,
            idle=len(workers) - busy,
            starting=sum(crew.missing for crew in crews),
            objects=sum(crew.objects for crew in crews),
            in_flight_bytes=self._budget.taken,
            suspended=() if self._crew is None else tuple(sorted(self._crew.suspects.suspended)),
        )

    def pids(self) -> dict[str, list[int]]:
        """Process ids of `zygotes` and `children`, for a person who looks and for tests that kill."""
        crews = self._crews()
        return {
            "zygotes": [crew.zygote_pid for crew in crews],
            "children": [worker.pid for crew in crews for worker in crew.workers],
        }

    def _crews(self) -> list[Crew]:
        return [*self._old, *([] if self._crew is None else [self._crew])]
