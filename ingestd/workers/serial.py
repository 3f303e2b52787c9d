"""The pool's interface without processes: the child's code in a thread of this one. For tests and debugging.

No limit holds a detection here, and one that ends its process ends ours.
"""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from ingestd.errors import Retryable
from ingestd.model import ChunkResult, ObjectDone, ObjectTask
from ingestd.workers.answers import OnCall
from ingestd.workers.board import Board
from ingestd.workers.contracts import Stages
from ingestd.workers.frames import DONE, RESULT, Call, Open
from ingestd.workers.settings import ChildSettings, CodeSpec, PoolSettings
from ingestd.workers.work import Work
from ingestd.workers.worker import Body, OnResult, pieces_of

_decode_result = msgspec.msgpack.Decoder(ChunkResult).decode
_decode_done = msgspec.msgpack.Decoder(ObjectDone).decode


class SerialExecutor:
    """One object after the other, in one thread."""

    def __init__(self, settings: PoolSettings, on_result: OnResult, on_call: OnCall | None = None) -> None:
        self._settings = settings
        self._on_result = on_result
        self._on_call = on_call
        self._thread = ThreadPoolExecutor(1, "serial worker")
        self._turn = asyncio.Lock()
        self._work: Work | None = None
        self._stages: Stages | None = None
        self._results: list[ChunkResult] = []
        self._done: list[ObjectDone] = []
        self._call_serial = -1
        self._call_numbers: dict[str, int] = {}
        self._board = Board.create()

    async def start(self, spec: CodeSpec) -> None:
        """Load the code. Raises ConfigError with all problems."""
        self._loop = asyncio.get_running_loop()
        self._stages = await self._in_thread(_build, spec)
        settings = ChildSettings.of(self._settings)
        self._work = Work(self._stages, settings, self._board, self._emit, spent=_spent, note=self._board.note)
        self._stages.connect(self._ask)

    async def reload(self, spec: CodeSpec) -> None:
        """Load other code for the objects to come. Raises ConfigError, and then nothing has changed."""
        async with self._turn:
            await self.start(spec)

    async def run(self, task: ObjectTask, body: Body) -> ObjectDone:
        """As `Pool.run`."""
        async with self._turn:
            work = self._work
            if work is None:
                raise Retryable("the worker pool is closed")
            await self._in_thread(work.open, Open(task=task))
            try:
                async for piece in pieces_of(body):
                    await self._in_thread(work.data, task.task, piece)
                    await self._hand_on()
                await self._in_thread(work.end, task.task)
            except BaseException:
                await self._in_thread(work.cancel, task.task)
                raise
            finally:
                await self._in_thread(work.flush)
                await self._hand_on()
            return self._done.pop()

    def idle_capacity(self) -> int:
        """One object at a time."""
        return 0 if self._work is None or self._turn.locked() else 1

    async def close(self, deadline: float = 0.0) -> None:
        """Finish the object under way; `deadline` means nothing here. Idempotent."""
        async with self._turn:
            self._work = None
            self._thread.shutdown()

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _hand_on(self) -> None:
        results, self._results = self._results, []
        for result in results:
            await self._on_result(result)

    def _emit(self, kind: int, _task: int, payload: bytes) -> None:
        if kind == RESULT:
            self._results.append(_decode_result(payload))
        elif kind == DONE:
            self._done.append(_decode_done(payload))

    def _ask(self, name: str, body: Any) -> Any:
        """In the worker's thread: ask in the loop's, and wait."""
        assert self._stages is not None
        assert self._work is not None
        watch = self._stages.watch
        if watch.serial != self._call_serial:
            self._call_serial, self._call_numbers = watch.serial, {}
        number = self._call_numbers.get(name, 0)
        self._call_numbers[name] = number + 1
        if self._on_call is None:
            raise Retryable(f"{name}: not available here")
        call = Call(number=number, rule=watch.running or "", row_id=self._work.row_id, name=name, body=body)
        return asyncio.run_coroutine_threadsafe(_answer(self._on_call, call), self._loop).result()


async def _answer(on_call: OnCall, call: Call) -> Any:
    return await on_call(call)


def _build(spec: CodeSpec) -> Stages:
    module, _, function = spec.factory.partition(":")
    stages: Stages = getattr(importlib.import_module(module), function)(spec)
    return stages


def _spent(rule: str) -> None:
    if not rule:
        raise MemoryError
