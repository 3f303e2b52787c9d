"""Zip archives as they stream by, from their local headers: no seeking, no spooling.

Each file in the archive is a document of its own, ended by `END_OF_MEMBER`. Stored and deflated files are read; a
file that cannot be read (encrypted, another method) is a `Damage`, and the next ones still come.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Generator, Iterator

import msgspec
from isal import igzip_lib, isal_zlib

from ingestd.decode.block import Damage, Fatal
from ingestd.decode.codec import END_OF_MEMBER, ISAL_ERROR, STEP, Plain
from ingestd.decode.limits import Limits

_LOCAL = b"PK\x03\x04"
_DESCRIPTOR = b"PK\x07\x08"
_DIRECTORY = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
_HEADER = struct.Struct("<HHHHHIIIHH")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_UNKNOWN = 0xFFFFFFFF
_ZIP64 = 1


class _Entry(msgspec.Struct, frozen=True):
    name: str
    flags: int
    method: int
    crc: int
    packed: int

    @property
    def sizes_follow(self) -> bool:
        return bool(self.flags & _SIZES_FOLLOW)


class ZipCodec:
    """See `codec.Codec`. The parser is a generator that yields None when it wants more bytes."""

    def __init__(self, _: Limits) -> None:
        self._buffer = b""
        self._ended = False
        self._parser = self._archive()

    def feed(self, data: bytes | memoryview) -> Iterator[Plain]:
        """See `codec.Codec`."""
        self._buffer += data
        for item in self._parser:
            if item is None:
                return
            yield item

    def finish(self) -> Iterator[Plain]:
        """See `codec.Codec`."""
        self._ended = True
        yield from self.feed(b"")

    def _archive(self) -> Generator[Plain | None, None, None]:
        while True:
            signature = yield from self._take(4)
            if signature in _DIRECTORY:
                break
            if signature != _LOCAL:
                raise Fatal("corrupt_zip", f"{signature!r} stands where the next file's header should be", whole=True)
            entry = yield from self._header()
            yield from self._member(entry)
        while not self._ended:  # the central directory repeats what the local headers said
            self._buffer = b""
            yield None

    def _header(self) -> Generator[None, None, _Entry]:
        fields = _HEADER.unpack((yield from self._take(_HEADER.size)))
        _, flags, method, _, _, crc, packed, plain, name_length, extra_length = fields
        name = yield from self._take(name_length)
        extra = yield from self._take(extra_length)
        if packed == _UNKNOWN:
            packed = _zip64_size(extra, after_plain=plain == _UNKNOWN)
        return _Entry(name.decode("utf-8", "replace"), flags, method, crc, packed)

    def _member(self, entry: _Entry) -> Generator[Plain | None, None, None]:
        unreadable = _why_unreadable(entry)
        if unreadable is not None:
            if entry.sizes_follow:
                raise Fatal("zip_member", f"{unreadable}; its length is not known, so the rest cannot be read")
            yield Damage(reason="zip_member", detail=unreadable)
            yield from self._drop(entry.packed)
            return
        wanted = not entry.name.startswith("__MACOSX/")  # resource forks that macOS adds to archives
        checksum = 0
        damaged = False
        pieces = self._inflated(entry) if entry.method == _DEFLATED else self._stored(entry)
        for piece in pieces:
            if isinstance(piece, bytes):
                checksum = isal_zlib.crc32(piece, checksum)
            if wanted or piece is None:
                yield piece
            damaged = damaged or isinstance(piece, Damage)
        if damaged:
            return
        expected = (yield from self._descriptor()) if entry.sizes_follow else entry.crc
        if wanted:
            yield END_OF_MEMBER
            if checksum != expected:
                detail = f"the checksum of {entry.name!r} is wrong: the records before this may be damaged"
                yield Damage(reason="corrupt_zip", detail=detail)

    def _stored(self, entry: _Entry) -> Generator[bytes | None, None, None]:
        left = entry.packed
        while left:
            while not self._buffer:
                yield from self._more()
            piece = self._buffer[: min(left, STEP)]
            self._buffer = self._buffer[len(piece) :]
            left -= len(piece)
            yield piece

    def _inflated(self, entry: _Entry) -> Generator[bytes | Damage | None, None, None]:
        inflate = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        left = sys.maxsize if entry.sizes_follow else entry.packed
        data = b""
        try:
            while not inflate.eof:
                if inflate.needs_input:
                    if not left:
                        raise EOFError("it ends early")
                    while not self._buffer:
                        yield from self._more()
                    data, self._buffer = self._buffer[:left], self._buffer[left:]
                    left -= len(data)
                piece = inflate.decompress(data, STEP)
                data = b""
                if piece:
                    yield piece
        except (ISAL_ERROR, EOFError) as error:
            detail = f"{entry.name!r} in the archive is damaged: {error}"
            if entry.sizes_follow:
                raise Fatal("corrupt_zip", detail) from error
            yield Damage(reason="corrupt_zip", detail=detail)
            yield from self._drop(left)
            return
        self._buffer = inflate.unused_data + self._buffer

    def _descriptor(self) -> Generator[None, None, int]:
        """Checksum of a file whose sizes follow it; the sizes are 4 or 8 bytes each, nothing says which."""
        first = yield from self._take(4)
        crc = (yield from self._take(4)) if first == _DESCRIPTOR else first
        while len(self._buffer) < 20 and not self._ended:
            yield None
        size = 8 if self._buffer[8:12] in (_LOCAL, *_DIRECTORY) else 16
        yield from self._take(size)
        return int.from_bytes(crc, "little")

    def _drop(self, length: int) -> Generator[None, None, None]:
        while length:
            while not self._buffer:
                yield from self._more()
            dropped = min(length, len(self._buffer))
            self._buffer = self._buffer[dropped:]
            length -= dropped

    def _take(self, length: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < length:
            yield from self._more()
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _more(self) -> Generator[None, None, None]:
        if self._ended:
            raise Fatal("truncated", "the zip archive ends before its directory")
        yield None


def _why_unreadable(entry: _Entry) -> str | None:
    if entry.flags & _ENCRYPTED:
        return f"{entry.name!r} in the archive is encrypted"
    if entry.method not in (_STORED, _DEFLATED):
        return f"{entry.name!r} in the archive is packed by method {entry.method}; stored and deflated can be read"
    if entry.method == _STORED and entry.sizes_follow and not entry.packed:
        return f"{entry.name!r} in the archive is stored without its length"
    return None


def _zip64_size(extra: bytes, *, after_plain: bool) -> int:
    """The packed size of 8 bytes, which follows the plain size where that is given there, too."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        start = at + 4 + (8 if after_plain else 0)
        if kind == _ZIP64 and start + 8 <= min(len(extra), at + 4 + length):
            return int.from_bytes(extra[start : start + 8], "little")
        at += 4 + length
    return _UNKNOWN
