"""Reading objects in tests: everything that comes out, flat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.decode import Block, Damage, Limits, ObjectDecoder
from ingestd.decode.framing import TABLE, Framer
from ingestd.model import Framing

LINES = Framing(name="lines")
JSON = Framing(name="json")
ARRAY = Framing(name="json_array")
AUTO = Framing()

SMALL = Limits(max_record_bytes=64 * 1024, payload_bytes=16)


@dataclass
class Result:
    """What an object was read as."""

    decoder: ObjectDecoder
    blocks: list[Block]

    @property
    def all(self) -> list[bytes | Damage]:
        """Records and damages in the order of their ordinals."""
        return [record for block in self.blocks for record in block.records]

    @property
    def records(self) -> list[bytes]:
        """The good ones."""
        return [record for record in self.all if isinstance(record, bytes)]

    @property
    def damages(self) -> list[Damage]:
        """The others."""
        return [record for record in self.all if isinstance(record, Damage)]

    @property
    def reasons(self) -> list[str]:
        """Of the damages."""
        return [damage.reason for damage in self.damages]

    @property
    def offsets(self) -> list[int]:
        """Of all."""
        return [block.offset_of(index) for block in self.blocks for index in range(len(block.records))]

    @property
    def comparable(self) -> tuple[object, ...]:
        """All that must be the same each time an object is read."""
        decoder = self.decoder
        return (self.all, self.offsets, decoder.records, decoder.plain_bytes, decoder.framing, decoder.failure)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size`."""
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data: bytes, framing: Framing = AUTO, limits: Limits | None = None, *, size: int = 0) -> Result:
    """Reads a whole object, given in pieces of `size` (0: at once), and checks that ordinals have no gap."""
    decoder = ObjectDecoder(framing, limits)
    blocks = [block for piece in pieces(data, size or len(data) or 1) for block in decoder.feed(piece)]
    blocks += decoder.finish()
    ordinal = 0
    for block in blocks:
        assert block.first == ordinal, "ordinals are consecutive"
        assert block.records, "no block is empty"
        ordinal += len(block.records)
    assert decoder.records == ordinal
    return Result(decoder, blocks)


def framer(framing: Framing, limits: Limits | None = None, offset: int = 0) -> Framer:
    """The framer behind a configured framing, without what comes before it."""
    row = next(row for row in TABLE if row.name == framing.name)
    return row.open(framing, limits or Limits(), offset)


def frame(data: bytes, framing: Framing, size: int, limits: Limits | None = None) -> list[bytes | Damage]:
    """What a framer makes of plain bytes given in pieces of `size`; they go past the slices of `ObjectDecoder`."""
    cutter = framer(framing, limits)
    blocks = [block for piece in pieces(data, size) for block in cutter.feed(piece)]
    blocks += cutter.finish()
    return [record for block in blocks for record in block.records]
