"""The parent's end of a child's data socket, with a real socket and the test as the child."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from ingestd.workers.frames import CREDIT, DONE, HEADER, MAX_FRAME, RESULT, ProtocolError, pack
from ingestd.workers.wire import Wire


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[Wire, socket.socket]]:
    """A wire, and the child's end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    wire = await Wire.connect(ours)
    with theirs:
        yield wire, theirs
        wire.close()


async def send(child: socket.socket, data: bytes) -> None:
    """As the child."""
    await asyncio.get_running_loop().sock_sendall(child, data)


def frame(kind: int, task: int, payload: bytes) -> bytes:
    """One message as it is sent."""
    return b"".join(pack(kind, task, payload))


@pytest.mark.parametrize("cut", [1, HEADER.size - 1, HEADER.size, HEADER.size + 1, 5000, 10**9])
async def test_messages_arrive_whole_however_they_are_cut(cut: int) -> None:
    """Short, empty and long messages come in order, whatever the pieces in which their bytes arrive."""
    sent = [(DONE, 1, b"one"), (CREDIT, 2, b""), (RESULT, 3, bytes(range(256)) * 40), (DONE, 4, b"last")]
    data = b"".join(frame(*message) for message in sent)
    async with connected() as (wire, child):
        for at in range(0, len(data), cut):
            await send(child, data[at : at + cut])
            await asyncio.sleep(0)
        received = [await wire.receive() for _ in sent]
    assert [(kind, task, bytes(payload)) for kind, task, payload in received] == sent


async def test_a_long_message_has_memory_of_its_own() -> None:
    """A payload of several megabytes, after and before short ones, is the same bytes; it lies in no one's buffer."""
    payload = bytes(range(251)) * 20_000
    async with connected() as (wire, child):
        sending = asyncio.create_task(
            send(child, frame(DONE, 1, b"a") + frame(RESULT, 2, payload) + frame(DONE, 3, b"b"))
        )
        messages = [await wire.receive() for _ in range(3)]
        await sending
        await send(child, frame(RESULT, 4, b"\xff" * 300_000))
        await wire.receive()
    assert [bytes(message.payload) for message in messages] == [b"a", payload, b"b"]


async def test_a_message_that_was_cut_into_frames_is_one() -> None:
    """Frames marked with MORE and the one after them are one message."""
    payload = b"x" * MAX_FRAME + b"y" * 100
    async with connected() as (wire, child):
        sending = asyncio.create_task(send(child, frame(RESULT, 9, payload)))
        kind, task, received = await wire.receive()
        await sending
    assert (kind, task) == (RESULT, 9)
    assert received == payload


@pytest.mark.parametrize("long", [HEADER.pack(RESULT, MAX_FRAME + 1, 0), frame(RESULT, 0, bytes(3 * MAX_FRAME))])
async def test_what_is_longer_than_any_message_ends_the_wire(long: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before is still received; then the reader is told that the child does not keep to the protocol."""
    monkeypatch.setattr("ingestd.workers.wire.MAX_MESSAGE", 2 * MAX_FRAME)
    async with connected() as (wire, child):
        sending = asyncio.create_task(send(child, frame(DONE, 1, b"fine") + long))
        assert (await wire.receive()).payload == b"fine"
        with pytest.raises(ProtocolError, match="a message of"):
            await wire.receive()
        await asyncio.gather(sending, return_exceptions=True)
        assert wire.is_closing


async def test_the_end_comes_after_the_last_message() -> None:
    """Messages that were sent before the child ended are received; half a message is not."""
    async with connected() as (wire, child):
        await send(child, frame(DONE, 1, b"last") + frame(RESULT, 2, b"half of it")[:-3])
        child.close()
        assert (await wire.receive()).payload == b"last"
        with pytest.raises(EOFError):
            await wire.receive()


async def test_a_child_waits_while_nobody_takes_its_messages() -> None:
    """What is kept of results that nobody takes is bounded; once they are taken, all of them arrive."""
    data = frame(RESULT, 1, b"x" * 1_000_000) * 40
    sent = refused = 0
    async with connected() as (wire, child):
        while refused < 100:
            try:
                sent += child.send(data[sent : sent + 1_000_000])
                refused = 0
            except BlockingIOError:
                refused += 1
            await asyncio.sleep(0)
        assert sent < 10_000_000
        sending = asyncio.create_task(send(child, data[sent:]))
        received = [len((await wire.receive()).payload) for _ in range(40)]
        await sending
    assert received == [1_000_000] * 40


async def test_writing_waits_for_a_child_that_does_not_read() -> None:
    """`room` returns when the child took what was written, or is gone."""
    async with connected() as (wire, child):
        wire.write([b"x" * 8_000_000])
        waiting = asyncio.create_task(wire.room())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        left = 8_000_000
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(child, 1 << 20))
        await waiting
        wire.write([b"x" * 8_000_000])
        child.close()
        await wire.room()
