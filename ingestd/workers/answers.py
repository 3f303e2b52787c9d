"""The parent's end of the call socket: answers what detections ask for while they run, one call at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ingestd.workers.frames import MAX_FRAME, Call, ProtocolError, Reply, encode

OnCall = Callable[[Call], Awaitable[Any]]
"""Answers a call with plain data, or raises: the text of what it raises is shown to the detection."""

_decode_call = msgspec.msgpack.Decoder(Call).decode


async def answer_calls(calls: socket.socket, on_call: OnCall | None) -> None:
    """Until the child closes its end. Raises ProtocolError or DecodeError when it sends what is no call."""
    reader, writer = await asyncio.open_unix_connection(sock=calls)
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            if length > MAX_FRAME:
                raise ProtocolError(f"a request of {length} bytes")
            reply = encode(await _answer(_decode_call(await reader.readexactly(length)), on_call))
            writer.writelines((len(reply).to_bytes(4, "big"), reply))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def _answer(call: Call, on_call: OnCall | None) -> Reply:
    if on_call is None:
        return Reply(error=f"{call.name}: not available here")
    try:
        return Reply(value=await on_call(call))
    except Exception as error:  # noqa: BLE001 - it is the detection's to see, and the child's to go on
        return Reply(error=f"{type(error).__name__}: {error}")
