"""One child in the parent's eyes: sends it objects, takes its results, notices its death."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

import msgspec

from ingestd.model import ChunkResult, ObjectDone
from ingestd.workers.answers import OnCall, answer_calls
from ingestd.workers.blame import Death
from ingestd.workers.board import Blame, Board
from ingestd.workers.budget import ByteBudget
from ingestd.workers.frames import (
    CANCEL,
    CANCELLED,
    CREDIT,
    DATA,
    DATA_BYTES,
    DONE,
    END,
    OPEN,
    RESULT,
    Open,
    ProtocolError,
    encode,
    pack,
)
from ingestd.workers.generation import Child, Zygote
from ingestd.workers.wire import Message, Wire

OnResult = Callable[[ChunkResult], Awaitable[None]]
Read = Callable[[], AsyncIterator[bytes]]
Body = bytes | Read
"""The stored bytes of an object: all of them, or what opens it from its start."""

_OUTBOX_BYTES: Final = 64 << 10
"""More is not worth waiting for others to go with."""
_END_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1.0
"""For handing on what a child sent before it was ended."""
_LARGE_BYTES: Final = 1 << 20
"""Stored bytes from which an object counts as large: a child has few of those open at once, to bound its memory."""

_REASONS: Final = {
    Blame.STUBBORN: "ended itself: a detection went on after its time was up",
    Blame.MEMORY: "ended itself: out of memory",
    Blame.BROKEN: "ended itself: a detection closed its sockets",
    Blame.FULL: "ended itself: grown to its memory limit",
}
_decode_result = msgspec.msgpack.Decoder(ChunkResult).decode
_decode_done = msgspec.msgpack.Decoder(ObjectDone).decode


def pieces_of(body: Body) -> AsyncIterator[bytes]:
    """The body from its start."""
    return _cut(body) if isinstance(body, bytes) else body()


async def _cut(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), DATA_BYTES):
        yield data[at : at + DATA_BYTES]


class WorkerDied(Exception):
    """The child ended under this object; `death` says what is known."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.detail)
        self.death = death


class Stream:
    """An object on its way through the child."""

    __slots__ = ("done", "reading", "returned")

    def __init__(self, returned: Callable[[int, int], None]) -> None:
        self.done: asyncio.Future[ObjectDone | None] = asyncio.get_running_loop().create_future()
        """None when it was cancelled."""
        self.reading: asyncio.Timeout | None = None
        """While its bytes are read: ends that."""
        self.returned = returned
        """Called with each range of ordinals whose rows have been handed on."""

    def finish(self, outcome: ObjectDone | Exception | None) -> None:
        """Say how it ended, the first time; nothing more of it need be read."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            self.done.exception()  # it may be that nobody waits any more
        else:
            self.done.set_result(outcome)
        if self.reading is not None:
            self.reading.reschedule(0.0)


class Worker:
    """A running child. Make with `start`; `ended` resolves when it is gone and all it sent has been handed on."""

    def __init__(
        self,
        zygote: Zygote,
        child: Child,
        board: Board,
        budget: ByteBudget,
        on_result: OnResult,
        on_call: OnCall | None,
    ) -> None:
        self.zygote = zygote
        self.child = child
        self.board = board
        self.stuck = False
        """Set before the parent ends it for coming no further."""
        self.streams: dict[int, Stream] = {}
        self.objects = 0
        """Objects given to it, kept by its owner."""
        self.closing = False
        """It was told to end."""
        self.in_flight = 0
        """Stored bytes sent and not yet worked on."""
        self.used = False
        """It was given an object."""
        self._budget = budget
        self._on_result = on_result
        self._on_call = on_call
        self._large = asyncio.Semaphore(4)
        self._outbox: list[bytes | memoryview] = []
        """Frames that go with the loop's next turn."""
        self._outbox_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: asyncio.Timeout | None = None
        self.ended: asyncio.Future[Death] = asyncio.get_running_loop().create_future()

    @staticmethod
    async def start(zygote: Zygote, budget: ByteBudget, on_result: OnResult, on_call: OnCall | None) -> Worker:
        """Fork a child. Raises Retryable when that is not possible now."""
        data, data_child = socket.socketpair()
        calls, calls_child = socket.socketpair()
        board = Board.create()
        try:
            with data_child, calls_child:
                child = await zygote.fork((data_child.fileno(), calls_child.fileno(), board.fd))
        except BaseException:
            for end in (data, calls):
                end.close()
            board.close()
            raise
        worker = Worker(zygote, child, board, budget, on_result, on_call)
        await worker._connect(data, calls)
        return worker

    async def _connect(self, data: socket.socket, calls: socket.socket) -> None:
        self._wire = await Wire.connect(data)
        name = f"worker {self.child.pid}"
        self._tasks = [
            asyncio.create_task(self._live(), name=name),
            asyncio.create_task(self._answer_calls(calls), name=f"{name} calls"),
        ]

    async def _answer_calls(self, calls: socket.socket) -> None:
        try:
            await answer_calls(calls, self._on_call)
        except (ProtocolError, msgspec.DecodeError):
            self.zygote.kill(self.child)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def accepts(self) -> bool:
        """Whether it takes objects: it is not dying."""
        return not self._wire.is_closing

    # --- objects --------------------------------------------------------------------------------------------

    async def process(self, opening: Open, body: Body, returned: Callable[[int, int], None]) -> ObjectDone:
        """Take one object through the child. Raises WorkerDied when the child ends first, or what reading the body
        raises, after everything that the child made of the object has been handed on."""
        number = opening.task.task
        stream = self.streams[number] = Stream(returned)
        self.used = True
        try:
            if isinstance(body, bytes) and len(body) <= DATA_BYTES and not opening.condemned:
                await self._send_whole(number, opening, body)
            else:
                await self._write(OPEN, number, encode(opening))
                if not opening.condemned:
                    await self._pump(number, stream, body)
            done = await stream.done
            if done is None:
                raise ProtocolError("the worker cancelled an object by itself")
            return done
        except WorkerDied:
            raise
        except Exception:
            await self._cancel(number, stream)
            raise
        except asyncio.CancelledError:  # whoever cancels is in a hurry
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._cancel(number, stream)
            raise
        finally:
            self.streams.pop(number, None)

    def suspend(self, rules: Iterable[str]) -> None:
        """Have the child leave out these detections, and no others, from now on."""
        if not self.ended.done():
            self.board.suspend(rules)

    async def _send_whole(self, number: int, opening: Open, body: bytes) -> None:
        """Send a small object at once. Empty ones have no DATA."""
        await self._budget.take(len(body))
        if self.ended.done():
            self._budget.give(len(body))
            return
        self.in_flight += len(body)
        self._put(pack(OPEN, number, encode(opening)))
        if body:
            self._put(pack(DATA, number, body))
        self._put(pack(END, number))
        await self._wire.room()

    async def _pump(self, number: int, stream: Stream, body: Body) -> None:
        """Send the object's bytes, as long as the child wants them."""
        try:
            async with asyncio.timeout(None) as stream.reading:
                await self._send_pieces(number, pieces_of(body))
        except TimeoutError:
            if stream.reading is None or not stream.reading.expired():
                raise
        finally:
            stream.reading = None

    async def _send_pieces(self, number: int, pieces: AsyncIterator[bytes]) -> None:
        sent, large = 0, False
        try:
            async for piece in pieces:
                if not large and sent + len(piece) > _LARGE_BYTES:
                    await self._large.acquire()
                    large = True
                for at in range(0, len(piece), DATA_BYTES):
                    await self._send_data(number, piece[at : at + DATA_BYTES])
                sent += len(piece)
        finally:
            if large:
                self._large.release()
            if (close := getattr(pieces, "aclose", None)) is not None:
                await close()
        await self._write(END, number)

    async def _send_data(self, number: int, data: bytes) -> None:
        await self._budget.take(len(data))
        if self.ended.done():
            self._budget.give(len(data))
            return
        self.in_flight += len(data)
        await self._write(DATA, number, data)

    async def _write(self, kind: int, number: int, payload: bytes = b"") -> None:
        self._put(pack(kind, number, payload))
        if kind != CANCEL:  # small, and not worth waiting for a child that may itself wait for us
            await self._wire.room()

    def _put(self, message: Iterable[bytes | memoryview]) -> None:
        """Send soon. Nothing happens when the child is gone: the stream knows, or will."""
        if self.ended.done() or self._wire.is_closing:
            return
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._post)
        for piece in message:
            self._outbox.append(piece)
            self._outbox_bytes += len(piece)
        if self._outbox_bytes > _OUTBOX_BYTES:
            self._post()

    def _post(self) -> None:
        """Send what was written since the loop's last turn: frames of many small objects leave together."""
        frames, self._outbox, self._outbox_bytes = self._outbox, [], 0
        if frames and not self._wire.is_closing:
            self._wire.write(frames)

    async def _cancel(self, number: int, stream: Stream) -> None:
        """Have the child forget the object, and wait until it has returned what it made of it."""
        await self._write(CANCEL, number)
        if stream.done.cancelled() and not self.ended.done():  # together with who waited for it
            stream.done = asyncio.get_running_loop().create_future()
        if not stream.done.done():
            with contextlib.suppress(WorkerDied):
                await asyncio.shield(stream.done)

    def _credit(self, size: int) -> None:
        self.in_flight -= size
        self._budget.give(size)

    # --- what the child sends -------------------------------------------------------------------------------

    async def _live(self) -> None:
        detail = ""
        try:
            async with asyncio.timeout(None) as self._listening:
                while True:
                    await self._message(await self._wire.receive())
        except TimeoutError:  # see `abandon`
            self.zygote.kill(self.child)
        except (EOFError, ConnectionError):
            pass
        except Exception as error:  # noqa: BLE001 - nobody reads its messages now: it must not live on
            detail = f"sent what is no message: {type(error).__name__}: {error}"
            self.zygote.kill(self.child)
        finally:
            self._listening = None
        self._wire.close()
        await self._bury(detail)

    async def _message(self, message: Message) -> None:
        kind, task, payload = message
        if kind == RESULT:
            await self._result(_decode_result(payload))
        elif kind in {DONE, CANCELLED}:
            if stream := self.streams.get(task):
                stream.finish(_decode_done(payload) if kind == DONE else None)
        elif kind == CREDIT:
            self._credit(task)

    async def _result(self, result: ChunkResult) -> None:
        try:
            await self._on_result(result)
        except Exception as error:  # noqa: BLE001 - whoever waits for these objects is told
            for span in result.spans:
                if stream := self.streams.get(span.task):
                    stream.finish(error)
            return
        for span in result.spans:
            if stream := self.streams.get(span.task):
                stream.returned(span.first, span.end)

    # --- its end --------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Have an idle child end; returns when it is gone. Idempotent."""
        self.closing = True
        if not self._wire.is_closing:
            self._post()
            self._wire.write_eof()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self.zygote.kill(self.child)
            await self.abandon()

    async def abandon(self) -> None:
        """The child is being ended: let what it sent be handed on for a moment, then no more, as whoever takes it may
        wait for ever. Returns when it is gone. Idempotent."""
        await asyncio.wait([self.ended], timeout=_GRACE_SECONDS)
        if self._listening is not None and not self._listening.expired():
            self._listening.reschedule(0.0)
        await asyncio.shield(self.ended)

    def kill(self) -> None:
        """End the child now, as one that came no further."""
        self.stuck = True
        self.zygote.kill(self.child)

    async def _bury(self, detail: str) -> None:
        """The child sends no more: learn how it ended and tell everyone who waits for it."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                status = await asyncio.shield(self.child.exited)
        except TimeoutError:  # it let go of its sockets and lives on
            self.zygote.kill(self.child)
            status = await self.child.exited
        place = self.board.read()
        death = Death(place, stuck=self.stuck, detail=detail or _ending(status, place.blame, stuck=self.stuck))
        self.board.close()
        for stream in self.streams.values():
            stream.finish(WorkerDied(death))
        self.ended.set_result(death)
        self._credit(self.in_flight)


def _ending(status: int | None, blame: Blame, *, stuck: bool) -> str:
    if stuck:
        return "ended because it came no further"
    if blame is not Blame.NONE:
        return _REASONS[blame]
    if status is None:
        return "ended with its zygote"
    return f"ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
