"""Compressed bytes to plain bytes, in bounded steps. One table; rows are told apart by their first bytes only.

Names, suffixes and headers lie: SDKs decode on their own, buckets serve `.gz` that is not, so none is looked at.
To add a compression: one row in `TABLE`, and its opener.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from backports.zstd import DecompressionParameter, ZstdDecompressor
from isal import igzip_lib
from lz4.frame import LZ4FrameDecompressor

from ingestd.decode.block import Damage, Fatal
from ingestd.decode.codec import END_OF_MEMBER, STEP, Codec, Plain
from ingestd.decode.limits import Limits
from ingestd.decode.members import MemberCodec
from ingestd.decode.snappy import SnappyCodec
from ingestd.decode.zip import ZipCodec


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
                continue
            if not self._skipping and piece is END_OF_MEMBER:
                yield from self._guarded(inner.finish())
            inner._start()
            self._skipping = False
            yield piece

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
