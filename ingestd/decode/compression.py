"""Compressed bytes to plain bytes, in bounded steps. One table; rows are told apart by their first bytes only.

Names, suffixes and headers lie: SDKs decode on their own, buckets serve `.gz` that is not, so none is looked at.
A codec is pushed compressed bytes and yields pieces of at most `STEP`; it raises `Fatal` when it cannot go on, after
everything good was yielded. To add a compression: one row in `TABLE`, and its opener.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
from isal import igzip_lib
from lz4.frame import LZ4FrameDecompressor

from ingestd.decode.block import Damage, Fatal
from ingestd.decode.limits import Limits
from ingestd.decode.snappy import SnappyCodec
from ingestd.decode.zip import END_OF_MEMBER, EndOfMember, ZipCodec

STEP: Final = 1024 * 1024
"""Largest piece of plain bytes given on at once: larger ones cost page faults and gain nothing."""

Plain = bytes | Damage | EndOfMember
"""A piece of plain bytes; the end of one file in an archive; or in its place, why the rest of it cannot be read."""


class Codec(Protocol):
    """One compressed stream being read."""

    def feed(self, data: bytes | memoryview) -> Iterator[Plain]:
        """Plain pieces for the next compressed bytes. Must be read to its end."""

    def finish(self) -> Iterator[Plain]:
        """The rest. Raises `Fatal` when the stream had not come to its end."""


class _Decompressor(Protocol):
    """What bz2, lzma, isal, lz4 and zstd have in common."""

    def decompress(self, data: bytes | memoryview, max_length: int = -1) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


_ISAL_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub says an instance
_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    _ISAL_ERROR,
    ZstdError,
)
_RETRY_STEP = 64


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
            piece = member.decompress(data, STEP)
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
        """What of a small damaged member comes out when it is given byte by byte, but the first `given` bytes: the
        libraries keep back what they made of the call in which they found the fault."""
        member = self._new()
        plain = bytearray()
        try:
            for start in range(0, len(data), _RETRY_STEP):
                plain += member.decompress(data[start : start + _RETRY_STEP], STEP)
        except _ERRORS:
            yield bytes(plain[given : given + STEP])

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


class Compression(NamedTuple):
    """A row: what the first bytes may be, and how to read what follows."""

    name: str
    magics: tuple[bytes, ...]
    open: Callable[[Limits], Codec]


_GZIP = (b"\x1f\x8b\x08",)
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60)))
_BZ2 = (b"BZh",)
_XZ = (b"\xfd7zXZ\0",)
_LZ4 = (b"\x04\x22\x4d\x18",)


def _gzip(_: Limits) -> Codec:
    return MemberCodec("gzip", _GZIP, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


def _zstd(limits: Limits) -> Codec:
    window: dict[int, int] = {DecompressionParameter.window_log_max: limits.max_codec_bytes.bit_length() - 1}
    return MemberCodec("zstd", _ZSTD, lambda: ZstdDecompressor(options=window))


def _bz2(_: Limits) -> Codec:
    return MemberCodec("bz2", _BZ2, bz2.BZ2Decompressor)


def _xz(limits: Limits) -> Codec:
    return MemberCodec(
        "xz", _XZ, lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=limits.max_codec_bytes)
    )


def _lz4(_: Limits) -> Codec:
    return MemberCodec("lz4", _LZ4, LZ4FrameDecompressor)


TABLE: Final = (
    Compression("gzip", _GZIP, _gzip),
    Compression("zstd", _ZSTD, _zstd),
    Compression("bz2", _BZ2, _bz2),
    Compression("xz", _XZ, _xz),
    Compression("lz4", _LZ4, _lz4),
    Compression("snappy", (b"\xff\x06\x00\x00sNaPpY",), SnappyCodec),
    Compression("zip", (b"PK\x03\x04", b"PK\x05\x06"), ZipCodec),
)
MAGIC_BYTES: Final = max(len(magic) for row in TABLE for magic in row.magics)


def detect(head: bytes) -> Compression | None:
    """The row whose magic bytes `head` (at least `MAGIC_BYTES`, unless the object is shorter) begins with."""
    for row in TABLE:
        if head.startswith(row.magics):
            return row
    return None


class Unpacker:
    """Finds the compression of a stream and reads it; plain streams pass through, cut to `STEP`.

    Within it one more compression is looked for (a `.gz` that was gzipped again on its way), no third.
    """

    def __init__(self, limits: Limits, *, levels: int = 2) -> None:
        self.names: list[str] = []
        self._limits = limits
        self._levels = levels
        self._start()

    @property
    def is_archive(self) -> bool:
        """Whether the stream holds several files, each ended by `END_OF_MEMBER`."""
        return isinstance(self._codec, ZipCodec) or (self._inner is not None and self._inner.is_archive)

    def _start(self) -> None:
        self._head = b""
        self._codec: Codec | None = None
        self._inner: Unpacker | None = None
        self._passing = self._levels == 0
        self._skipping = False

    def feed(self, data: bytes | memoryview) -> Iterator[Plain]:
        """See `Codec`."""
        if self._passing:
            yield from _steps(data)
        elif self._codec is not None:
            yield from self._within(self._codec.feed(data))
        else:
            self._head += data
            if len(self._head) >= MAGIC_BYTES:
                yield from self._open()

    def finish(self) -> Iterator[Plain]:
        """See `Codec`."""
        if not self._passing and self._codec is None:
            yield from self._open()
        if self._codec is not None:
            yield from self._within(self._codec.finish())
            if self._inner is not None and not self._skipping:
                yield from self._inner.finish()

    def _open(self) -> Iterator[Plain]:
        head, self._head = self._head, b""
        row = detect(head)
        if row is None:
            self._passing = True
            yield from _steps(head)
            return
        if row.name not in self.names:
            self.names.append(row.name)
        self._codec = row.open(self._limits)
        self._inner = Unpacker(self._limits, levels=self._levels - 1)
        self._inner.names = self.names
        yield from self._within(self._codec.feed(head))

    def _within(self, pieces: Iterator[Plain]) -> Iterator[Plain]:
        """Looks for another compression within the plain pieces, in each file of an archive anew."""
        inner = self._inner
        assert inner is not None
        for piece in pieces:
            if isinstance(piece, bytes):
                if not self._skipping:
                    yield from self._guarded(inner.feed(piece))
            elif piece is END_OF_MEMBER:
                yield from self._end_of_member(inner)
            else:
                yield piece

    def _end_of_member(self, inner: Unpacker) -> Iterator[Plain]:
        if not self._skipping:
            yield from self._guarded(inner.finish())
        inner._start()
        self._skipping = False
        yield END_OF_MEMBER

    def _guarded(self, pieces: Iterator[Plain]) -> Iterator[Plain]:
        """In an archive, what is wrong within one file ends that file only."""
        try:
            yield from pieces
        except Fatal as fatal:
            if not isinstance(self._codec, ZipCodec):
                raise
            self._skipping = True
            yield Damage(reason=fatal.reason, detail=fatal.detail, payload=fatal.payload)


def _steps(data: bytes | memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), STEP):
        yield bytes(data[start : start + STEP])
