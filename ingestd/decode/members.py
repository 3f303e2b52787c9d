"""Compressed streams that consist of members, one after the other: gzip, zstd, bz2, xz, lz4."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from typing import Protocol

from backports.zstd import ZstdError

from ingestd.decode.block import Fatal
from ingestd.decode.codec import ISAL_ERROR, STEP, Plain


class _Decompressor(Protocol):
    """What bz2, lzma, isal, lz4 and zstd have in common."""

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    ISAL_ERROR,
    ZstdError,
)
_RETRY_STEP = 64
_SMALL = 64 * 1024


class MemberCodec:
    """Any number of compressed members (streams, frames) one after the other: gzip, zstd, bz2, xz, lz4."""

    def __init__(self, name: str, magics: tuple[bytes, ...], new: Callable[[], _Decompressor]) -> None:
        self._name = name
        self._magics = magics
        self._longest = max(map(len, magics))
        self._new = new
        self._member: _Decompressor | None = new()
        self._fresh = True
        """No input was given to the member yet."""
        self._between = b""
        """Bytes after a member, too few to say whether another one begins."""

    def feed(self, data: bytes | memoryview) -> Iterator[Plain]:
        """See `Codec`."""
        while data:
            if self._member is None:
                data = self._between_members(bytes(data))
                if self._member is None:
                    return
            yield from self._inflate(self._member, data)
            if not self._member.eof:
                return
            data = self._member.unused_data
            self._member = None

    def finish(self) -> Iterator[Plain]:
        """See `Codec`."""
        if self._between:
            self._start_member(self._between, complete=True)
        if self._member is not None:
            raise Fatal("truncated", f"the {self._name} data ends before its end mark")
        yield from ()

    def _inflate(self, member: _Decompressor, data: bytes | memoryview) -> Iterator[Plain]:
        given = 0
        fresh, self._fresh = self._fresh, False
        try:
            piece = _first(member, data) if fresh else member.decompress(data, STEP)
            while True:
                if piece:
                    given += len(piece)
                    yield piece
                if member.eof or (member.needs_input and len(piece) < STEP):
                    return
                piece = member.decompress(b"", STEP)
                if not piece:
                    return
        except _ERRORS as error:
            if fresh:
                yield from self._good_part(data, given)
            raise self._fatal(error) from error

    def _good_part(self, data: bytes | memoryview, given: int) -> Iterator[Plain]:
        """What comes out of a small damaged member when it is given bit by bit, without the first `given` bytes: the
        libraries keep back what they made of the call in which they found the fault."""
        member = self._new()
        for start in range(0, len(data), _RETRY_STEP):
            try:
                piece = member.decompress(data[start : start + _RETRY_STEP], STEP)
            except _ERRORS:
                return
            if len(piece) > given:
                yield piece[given:]
            given = max(0, given - len(piece))

    def _between_members(self, data: bytes) -> bytes:
        """After a member: start the next one, whose bytes are returned, or wait; zero padding is allowed."""
        data = (self._between + data).lstrip(b"\0")
        if len(data) < self._longest:
            self._between = data
            return b""
        self._start_member(data, complete=False)
        return data

    def _start_member(self, data: bytes, *, complete: bool) -> None:
        self._between = b""
        if complete and any(magic.startswith(data) for magic in self._magics):
            raise Fatal("truncated", f"the {self._name} data ends within the mark of its next part")
        if not data.startswith(self._magics):
            raise Fatal(
                "trailing_garbage",
                f"{'' if complete else 'at least '}{len(data)} bytes after the end of the {self._name} data are not"
                f" {self._name}: they were left out",
                payload=data,
                whole=True,
            )
        self._member = self._new()
        self._fresh = True

    def _fatal(self, error: Exception) -> Fatal:
        if "emory" in str(error):
            return Fatal("codec_memory", f"the {self._name} data asks for too much memory: {error}")
        return Fatal(f"corrupt_{self._name}", f"the {self._name} data is damaged: {error}")


def _first(member: _Decompressor, data: bytes | memoryview) -> bytes:
    """The first piece of a member, at most `STEP`. It is asked for in two parts, as room for the whole is made before
    anything is known of it: for a small member that costs five times what unpacking it does."""
    piece = member.decompress(data, _SMALL)
    if len(piece) < _SMALL or member.eof:
        return piece
    return piece + member.decompress(b"", STEP - _SMALL)
