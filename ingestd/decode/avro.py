"""Records of Avro object container files.

The container is taken apart here, block by block as it streams by: each block ends with the file's own mark, so that
damage costs its block only. fastavro reads the values, with readers of ours for dates and times, which a producer may
put beyond what Python has.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from ingestd.decode import avro_schema
from ingestd.decode.block import Block, Damage, Fatal, Record
from ingestd.decode.limits import MIB, Limits
from ingestd.decode.rows import RowWriter

MAGIC: Final = b"Obj\x01"
_SYNC: Final = 16
_MOST_HEADER: Final = 4 * MIB
_BLOCK_OVERHEAD: Final = 20
_GROUP: Final = 256
"""Records given on at once."""

Wait = Generator[None, None, Any]


class AvroFramer:
    """The `avro` framing. What `_container` yields are blocks, and None to ask for more bytes."""

    tail_open = False

    def __init__(self, limits: Limits, offset: int) -> None:
        self._limits = limits
        self._data = b""
        self._at = 0
        self._base = offset
        self._seen = 0
        """Bytes of the document so far."""
        self._ended = False
        self._writer = RowWriter(limits)
        self._parser = self._container()

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        self._base += self._at
        self._data = self._data[self._at :] + data
        self._at = 0
        self._seen += len(data)
        for block in self._parser:
            if block is None:
                return
            yield block

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        self._ended = True
        if self._seen:
            yield from self.feed(b"")

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        return self._base + self._at, self._data[self._at : self._at + self._limits.payload_bytes]

    # --- the container ----------------------------------------------------------------------------------

    def _container(self) -> Generator[Block | None, None, None]:
        if (yield from self._take(len(MAGIC))) != MAGIC:
            raise Fatal("corrupt_avro", "an Avro file should begin here")
        metadata = yield from self._metadata()
        read = _reader(metadata)
        unpack = _CODECS.get(codec := metadata.get("avro.codec", b"null").decode("utf-8", "replace"))
        if unpack is None:
            raise Fatal("corrupt_avro", f"the codec {codec[:40]!r} is not one of {', '.join(_CODECS)}")
        sync = yield from self._take(_SYNC)
        while (yield from self._more()):
            yield from self._block(sync, unpack, read)

    def _metadata(self) -> Wait:
        found: dict[str, bytes] = {}
        while count := (yield from self._long()):
            if count < 0:  # the size of these entries follows
                count = -count
                yield from self._long()
            for _ in range(count):
                key = yield from self._bytes()
                found[key.decode("utf-8", "replace")] = yield from self._bytes()
                if self._base + self._at > _MOST_HEADER:
                    raise Fatal("corrupt_avro", f"the header is longer than {_MOST_HEADER} bytes")
        return found

    def _bytes(self) -> Wait:
        size = yield from self._long()
        if not 0 <= size <= _MOST_HEADER:
            raise Fatal("corrupt_avro", f"a text of {size} bytes in the header")
        return (yield from self._take(size))

    def _block(
        self, sync: bytes, unpack: Callable[[bytes, int], bytes], read: avro_schema.Read
    ) -> Generator[Block | None, None, None]:
        offset = self._base + self._at
        try:
            count = yield from self._long()
            size = yield from self._long()
            if count < 0 or not 0 <= size <= self._limits.max_record_bytes + _BLOCK_OVERHEAD:
                raise _Broken("corrupt_avro", f"a block of {count} records and {size} bytes")
            packed = yield from self._take(size)
            if (yield from self._take(_SYNC)) != sync:
                raise _Broken("corrupt_avro", "a block does not end with the mark of the file")
        except _Broken as broken:
            yield self._damage(broken.reason, broken.detail, offset)
            yield from self._resynchronise(sync)
            return
        try:
            plain = unpack(packed, 4 * self._limits.max_record_bytes)
        except _Broken as broken:
            yield self._damage(broken.reason, broken.detail, offset)
        except Exception as error:  # noqa: BLE001 - five libraries, each with errors of its own
            yield self._damage("corrupt_avro", f"a block cannot be unpacked: {error}", offset)
        else:
            yield from self._records(io.BytesIO(plain), count, read, offset)

    def _records(self, source: io.BytesIO, count: int, read: avro_schema.Read, offset: int) -> Iterator[Block]:
        records: list[Record] = []
        for number in range(count):
            try:
                records.append(self._record(source, read, offset))
            except Fatal:
                raise
            except (Exception, MemoryError) as error:  # noqa: BLE001 - whatever a damaged block makes of the reader
                where = f"record {number} of {count} in the block"
                detail = f"{where} cannot be read, nor what follows it: {type(error).__name__}: {error}"
                records.append(Damage(reason="corrupt_avro", detail=detail, offset=offset))
                break
            if len(records) == _GROUP:
                yield Block(records, offsets=[offset] * len(records))
                records = []
        if records:
            yield Block(records, offsets=[offset] * len(records))

    def _record(self, source: io.BytesIO, read: avro_schema.Read, offset: int) -> Record:
        start = source.tell()
        try:
            row = read(source, "strict")
        except UnicodeDecodeError as error:
            source.seek(start)
            read(source, "replace")
            return Damage(reason="invalid_utf8", detail=f"a text of the record is not UTF-8: {error}", offset=offset)
        return self._writer.record(row if isinstance(row, dict) else {"value": row}, self._seen, offset)

    def _resynchronise(self, sync: bytes) -> Wait:
        """Goes on after the next mark of the file."""
        while (found := self._data.find(sync, self._at)) < 0:
            self._at = max(self._at, len(self._data) - _SYNC + 1)
            if self._ended:
                self._at = len(self._data)
                return
            yield None
        self._at = found + _SYNC

    # --- bytes ------------------------------------------------------------------------------------------

    def _more(self) -> Wait:
        """Whether anything follows."""
        while self._at == len(self._data):
            if self._ended:
                return False
            yield None
        return True

    def _take(self, size: int) -> Wait:
        while len(self._data) - self._at < size:
            if self._ended:
                raise Fatal("truncated", "the Avro file ends within a block")
            yield None
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def _long(self) -> Wait:
        """A number as Avro writes it: zigzag, seven bits to the byte."""
        value = shift = 0
        while True:
            (byte,) = yield from self._take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise _Broken("corrupt_avro", "a number of more than ten bytes")

    def _damage(self, reason: str, detail: str, offset: int) -> Block:
        return Block([Damage(reason=reason, detail=detail, offset=offset)], offsets=[offset])


class _Broken(Fatal):
    """Wrong within a block: what follows it can be read."""


def _reader(metadata: dict[str, bytes]) -> avro_schema.Read:
    try:
        return avro_schema.reader(metadata.get("avro.schema", b""))
    except ValueError as error:
        raise Fatal("corrupt_avro", f"the schema in the file cannot be used: {error}") from error


# --- codecs: packed bytes, and how many plain ones they may become ------------------------------------------


def _whole(plain: bytes, most: int) -> bytes:
    if len(plain) > most:
        raise _Broken("expansion_limit", f"a block becomes more than {most} bytes")
    return plain


def _deflate(packed: bytes, most: int) -> bytes:
    return _whole(zlib.decompressobj(-15).decompress(packed, most + 1), most)


def _zstandard(packed: bytes, most: int) -> bytes:
    from backports.zstd import ZstdDecompressor

    return _whole(ZstdDecompressor().decompress(packed, most + 1), most)


def _bzip2(packed: bytes, most: int) -> bytes:
    import bz2

    return _whole(bz2.BZ2Decompressor().decompress(packed, most + 1), most)


def _xz(packed: bytes, most: int) -> bytes:
    import lzma

    return _whole(lzma.LZMADecompressor(memlimit=2 * most).decompress(packed, most + 1), most)


def _snappy(packed: bytes, most: int) -> bytes:
    import cramjam

    size = shift = 0
    for byte in packed[:5]:  # the plain size stands in front
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > most:
        raise _Broken("expansion_limit", f"a block becomes more than {most} bytes")
    plain = bytes(cramjam.snappy.decompress_raw(packed[:-4]))
    if struct.pack(">I", zlib.crc32(plain)) != packed[-4:]:
        raise _Broken("corrupt_avro", "the checksum of a block is wrong")
    return plain


_CODECS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "null": _whole, "deflate": _deflate, "snappy": _snappy,
    "zstandard": _zstandard, "bzip2": _bzip2, "xz": _xz,
}  # fmt: skip
