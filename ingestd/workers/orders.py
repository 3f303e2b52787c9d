"""What the parent and a zygote say to each other: MessagePack, each message after its length."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from ingestd.detections.timetable import Timetable
from ingestd.errors import Problem
from ingestd.model import LoadedDetection
from ingestd.workers.settings import ChildSettings, CodeSpec

_LENGTH: Final = struct.Struct("!I")
CHILD_FDS: Final = 3
"""Data socket, call socket, board."""


class Boot(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Parent → zygote, first: what to load."""

    spec: CodeSpec
    settings: ChildSettings


class Fork(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Parent → zygote, with `CHILD_FDS` file descriptors: start a child."""

    child: int


class Kill(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Parent → zygote: end a child. The zygote does it because only it knows that the pid is still the child's."""

    child: int


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A `Problem` on its way to the parent."""

    message: str
    file: str | None = None
    line: int | None = None
    path: str = ""
    hint: str = ""

    def problem(self) -> Problem:
        """The same as the parent raises it."""
        return Problem(self.message, file=self.file, line=self.line, path=self.path, hint=self.hint)


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote → parent: ready to fork."""

    description: dict[str, str | int | float]
    detections: tuple[LoadedDetection, ...] = ()
    timetable: Timetable = Timetable()
    threads: int = 1
    """Threads that loading the code left behind. More than one is a risk: a lock one of them holds stays held."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote → parent: the code does not load."""

    faults: list[Fault]


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote → parent: a child is there; `pid` 0 when the system refused, with the reason."""

    child: int
    pid: int
    error: str = ""


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Zygote → parent: a child is gone. `status` as `os.waitstatus_to_exitcode` tells it."""

    child: int
    status: int


Order = Boot | Fork | Kill
Report = Loaded | Refused | Forked | Exited


def frame(message: Order | Report) -> bytes:
    """A message as it is sent."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


def take_frame(buffer: bytearray) -> bytes | None:
    """Take the first message that has arrived whole out of the buffer, if there is one."""
    if len(buffer) < _LENGTH.size:
        return None
    end = _LENGTH.size + int(_LENGTH.unpack_from(buffer)[0])
    if len(buffer) < end:
        return None
    payload = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return payload
