"""The parent's end of a child's data socket: frames out, whole messages in.

asyncio's streams copy what arrives three times, each time into fresh memory, and zeroing pages for that costs more
than the copying. Here a long frame is received straight into memory of its own, which `ChunkResult` then refers to.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias, cast

from ingestd.workers.frames import HEADER, MAX_FRAME, MAX_MESSAGE, MORE, ProtocolError

Payload: TypeAlias = "bytes | bytearray"

_INPUT_BYTES: Final = 256 << 10
"""About what a socket holds; frames that do not end in it get memory of their own."""
_WAITING_BYTES: Final = 4 << 20
"""Of messages that nobody took yet: then nothing more is read."""
_UNSENT_BYTES: Final = 1 << 20
"""Of frames that the child has not taken yet: then writing waits."""


class Message(NamedTuple):
    """A frame, or the frames of a message that was cut, as one."""

    kind: int
    task: int
    payload: Payload


class Wire(asyncio.BufferedProtocol):
    """Make with `connect`."""

    def __init__(self) -> None:
        self._input = bytearray(_INPUT_BYTES)
        self._view = memoryview(self._input)
        self._filled = 0
        """Bytes of `_input` that are there."""
        self._long = Message(0, 0, b"")
        self._missing: memoryview | None = None
        """The part of `_long` that did not arrive yet."""
        self._parts: list[Payload] = []
        self._size = 0
        """Of the message that is arriving."""
        self._messages: deque[Message] = deque()
        self._waiting = 0
        self._paused = False
        self._over: Exception | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @staticmethod
    async def connect(sock: socket.socket) -> Wire:
        """Take over a connected socket."""
        _, wire = await asyncio.get_running_loop().create_unix_connection(Wire, sock=sock)
        return wire

    # --- in -------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next message. Raises EOFError at the end, ConnectionError, or ProtocolError for what is no message."""
        while not self._messages:
            if self._over is not None:
                raise self._over
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._waiting -= len(message.payload)
        if self._paused and self._waiting <= _WAITING_BYTES and not self.is_closing:
            self._paused = False
            self._transport.resume_reading()
        return message

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._view[self._filled :] if self._missing is None else self._missing

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes arrived there."""
        try:
            if self._missing is None:
                self._filled += nbytes
                self._cut()
            else:
                self._missing = self._missing[nbytes:]
                if not self._missing:
                    self._missing = None
                    self._take(self._long)
        except ProtocolError as error:
            self._end(error)
            self._transport.abort()

    def _cut(self) -> None:
        """Take the frames that lie in `_input`; the last one may still be arriving."""
        at, end = 0, self._filled
        while end - at >= HEADER.size:
            kind, length, task = HEADER.unpack_from(self._input, at)
            self._size += length
            if length > MAX_FRAME or self._size > MAX_MESSAGE:
                raise ProtocolError(f"a message of {self._size} bytes")
            at += HEADER.size
            here = self._view[at : min(at + length, end)]
            at += len(here)
            if len(here) == length:
                self._take(Message(kind, task, bytes(here)))
                continue
            # The heap has it again, from a result that was committed: fresh pages would be zeroed each time.
            memory = bytearray(length)
            self._long = Message(kind, task, memory)
            whole = memoryview(memory)
            whole[: len(here)] = here
            self._missing = whole[len(here) :]
        self._filled = end - at
        self._view[: self._filled] = bytes(self._view[at:end])

    def _take(self, frame: Message) -> None:
        if frame.kind & MORE or self._parts:
            self._parts.append(frame.payload)
            if frame.kind & MORE:
                return
            frame = Message(frame.kind, frame.task, b"".join(self._parts))
            self._parts.clear()
        self._size = 0
        self._messages.append(frame)
        self._waiting += len(frame.payload)
        self._arrived.set()
        if self._waiting > _WAITING_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # --- out ------------------------------------------------------------------------------------------------

    def write(self, frames: Iterable[bytes | memoryview]) -> None:
        """Send in this order, as the child takes them."""
        self._transport.writelines(frames)

    async def room(self) -> None:
        """Returns when the child has taken nearly all that was written, or is gone."""
        await self._writable.wait()

    def write_eof(self) -> None:
        """Nothing more will be written."""
        with contextlib.suppress(OSError):
            self._transport.write_eof()

    # --- the connection -------------------------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether it is closed, from either side."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)

    def eof_received(self) -> None:
        """The child sends no more; the transport closes itself."""
        self._end(EOFError())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._end(exc or EOFError())

    def pause_writing(self) -> None:
        """More than `_UNSENT_BYTES` wait for the child."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The child took most of it."""
        self._writable.set()

    def _end(self, why: Exception) -> None:
        self._over = self._over or why
        self._arrived.set()
        self._writable.set()
