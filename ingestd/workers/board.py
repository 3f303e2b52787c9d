"""Memory that a child shares with the parent: where the child is, readable after its death.

The child writes a few machine words per record; the parent reads them to see whether the child comes any further
and, once it is dead, what it was doing. Each word is written whole, so no lock is needed. The other way the parent
names the detections that are suspended, which so reaches a child in the midst of its work.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

SIZE: Final = 1 << 16
_WORDS: Final = 16
_RULE_AT: Final = _WORDS * 8
_MAX_RULE: Final = 1024
_SUSPENDED_AT: Final = 4096


_decode_rules = msgspec.msgpack.Decoder(list[str]).decode


class Phase(IntEnum):
    """What a child is doing."""

    IDLE = 0
    """Waiting for input."""
    FRAME = 1
    """Decompressing and cutting into records; `ordinal` is the one that comes next."""
    READ = 2
    """Normalising one record."""
    DETECT = 3
    """In the detections."""
    BUILD = 4
    """Turning rows into columns and results into bytes."""
    CALL = 5
    """Waiting for the parent to answer a detection."""
    SEND = 6
    """Waiting for the parent to take results."""


class Blame(IntEnum):
    """Why a child ended itself, where it knows; then the note names the culprit for certain."""

    NONE = 0
    STUBBORN = 1
    """A detection went on after its time was up, again and again."""
    MEMORY = 2
    """A detection ran out of memory and kept what it had taken."""
    BROKEN = 3
    """A detection closed the child's sockets."""
    FULL = 4
    """Nobody in particular: the child has grown and asks to be replaced."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a child is or was."""

    phase: Phase
    task: int
    ordinal: int
    rule: str
    """The detection noted last; only in careful mode, or when `blame` is set."""
    blame: Blame
    progress: tuple[int, ...]
    """Changes whenever the child comes any further."""


PHASE: Final = 0
TASK: Final = 1
ORDINAL: Final = 2
SERIAL: Final = 3
FRAMES: Final = 4
_BLAME: Final = 5
_RULE_LENGTH: Final = 6
_VERSION: Final = 7
_SUSPENDED_LENGTH: Final = 8


class Board:
    """The shared page. `words` is open to the child's inner loop, which writes by the indexes above."""

    def __init__(self, fd: int) -> None:
        """Map the page behind `fd`, which this object owns from now on."""
        self.fd = fd
        self._version = 0
        self._map = mmap.mmap(fd, SIZE)
        self._view = memoryview(self._map)
        self.words = self._view[: _WORDS * 8].cast("Q")

    @staticmethod
    def create() -> Board:
        """A new page, all zeros."""
        fd = os.memfd_create("ingestd-board", os.MFD_CLOEXEC)
        os.ftruncate(fd, SIZE)
        return Board(fd)

    def note(self, rule: str) -> None:
        """Remember that `rule` is about to run; empty for none."""
        name = rule.encode("utf-8", "replace")[:_MAX_RULE]
        self.words[_RULE_LENGTH] = 0
        self._view[_RULE_AT : _RULE_AT + len(name)] = name
        self.words[_RULE_LENGTH] = len(name)

    def blame(self, reason: Blame, rule: str = "") -> None:
        """Say why this process is about to end itself."""
        self.note(rule)
        self.words[_BLAME] = reason

    def suspend(self, rules: Iterable[str]) -> None:
        """In the parent: these detections, all of them, are suspended. Those for which there is no room are not."""
        text = msgspec.msgpack.encode(sorted(rules))
        while len(text) > SIZE - _SUSPENDED_AT:
            text = msgspec.msgpack.encode(msgspec.msgpack.decode(text)[:-1])
        words = self.words
        words[_VERSION] += 1  # odd: being written
        self._view[_SUSPENDED_AT : _SUSPENDED_AT + len(text)] = text
        words[_SUSPENDED_LENGTH] = len(text)
        words[_VERSION] += 1

    def take_suspended(self) -> list[str] | None:
        """In the child: the suspended detections, if the parent has changed them since the last call."""
        version = self.words[_VERSION]
        if version == self._version or version % 2:
            return None
        end = _SUSPENDED_AT + self.words[_SUSPENDED_LENGTH]
        text = bytes(self._view[_SUSPENDED_AT:end])
        if self.words[_VERSION] != version:
            return None  # it is being written again; the next call finds it
        self._version = version
        return _decode_rules(text)

    def read(self) -> Place:
        """The place as it is now."""
        words = self.words
        length = min(words[_RULE_LENGTH], _MAX_RULE)
        return Place(
            phase=Phase(words[PHASE] % len(Phase)),
            task=words[TASK],
            ordinal=words[ORDINAL],
            rule=bytes(self._view[_RULE_AT : _RULE_AT + length]).decode("utf-8", "replace"),
            blame=Blame(words[_BLAME] % len(Blame)),
            progress=(words[TASK], words[ORDINAL], words[SERIAL], words[FRAMES]),
        )

    def close(self) -> None:
        """Unmap; nothing of it may be used afterwards."""
        self.words.release()
        self._view.release()
        self._map.close()
        os.close(self.fd)
