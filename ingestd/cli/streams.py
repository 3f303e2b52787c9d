"""Bytes that come piece by piece as a file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import IO

BUFFER_BYTES = 1024 * 1024


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def as_file(pieces: Iterable[bytes]) -> IO[bytes]:
    """A file to read once, from the start; it keeps no more than a piece and a buffer."""
    return io.BufferedReader(_Pieces(pieces), BUFFER_BYTES)
