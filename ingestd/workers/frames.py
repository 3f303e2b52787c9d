"""What crosses between the parent and a child: length-prefixed frames over a stream socket.

A frame is `kind (1 byte) · length (4 bytes) · task (8 bytes) · payload`, its payload at most `MAX_FRAME` long. A
longer message is cut into frames of which all but the last have the bit `MORE` set. Payloads are MessagePack of the
structs below, or for DATA the stored bytes of an object as they are.

    parent → child   OPEN (DATA)* END per object, or CANCEL in the place of END; several objects are interleaved
    child → parent   RESULT, and after the result with an object's last span its DONE (or CANCELLED)

The order of frames is the protocol: a child works on them in the order in which they arrive, and DONE means that
every result with spans of the object went before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from ingestd.model import ObjectTask

HEADER: Final = struct.Struct("!BIQ")
MAX_FRAME: Final = 8 << 20
MAX_MESSAGE: Final = 256 << 20
"""More than any result: a child that claims more is broken."""
DATA_BYTES: Final = 256 << 10
"""Longest DATA frame: bounds the time that a child needs for one, however far it inflates."""
MORE: Final = 0x80

OPEN: Final = 1
DATA: Final = 2
END: Final = 3
CANCEL: Final = 4

RESULT: Final = 16
DONE: Final = 17
CANCELLED: Final = 18
CREDIT: Final = 19
"""The task field is the number of DATA bytes that were worked on."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """The start of an object."""

    task: ObjectTask
    careful_until: int = 0
    """Below this ordinal each call of a detection is noted before it is made, and results are returned often."""
    flush_seconds: float = 0.0
    """How often, in careful mode; 0 after each record."""
    condemned: str = ""
    """Not empty: the object's bytes kill children. It becomes a reject with this reason; no bytes follow."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A detection asks the parent for something: its stored state, or a secret."""

    number: int
    """Counts the calls of this evaluation and name from 0, so that a repeated evaluation repeats no write."""
    rule: str
    row_id: str
    name: str
    """What is asked: `kv`, `secret`."""
    body: Any
    """Plain data."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a call; `error` is for the detection to see."""

    value: Any = None
    error: str | None = None


T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


def pack(kind: int, task: int, payload: bytes | memoryview = b"") -> Iterable[bytes | memoryview]:
    """The pieces to write for one message: header, payload, header, payload…"""
    size = len(payload)
    if size > MAX_FRAME:
        return _cut(kind, task, memoryview(payload))
    header = HEADER.pack(kind, size, task)
    return (header, payload) if size else (header,)


def _cut(kind: int, task: int, rest: memoryview) -> Iterator[bytes | memoryview]:
    while len(rest) > MAX_FRAME:
        yield HEADER.pack(kind | MORE, MAX_FRAME, task)
        yield rest[:MAX_FRAME]
        rest = rest[MAX_FRAME:]
    yield HEADER.pack(kind, len(rest), task)
    yield rest


def encode(message: msgspec.Struct) -> bytes:
    """MessagePack of a struct of this page or of `ingestd.model`."""
    return _encoder.encode(message)


class ProtocolError(Exception):
    """The other side sent what this page does not allow."""
