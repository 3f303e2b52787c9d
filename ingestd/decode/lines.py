"""Records that are lines."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.decode.block import Block, Damage
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_block


class LinesFramer:
    """Lines ended by LF or CRLF. Lines of whitespace only are no records and take no ordinal.

    A line longer than the limit becomes a `Damage` as soon as that is seen, and its rest is passed over.
    """

    def __init__(self, limits: Limits, offset: int) -> None:
        self.tail_open = False
        self._limits = limits
        self._held: list[bytes] = []
        """Parts of a line whose end has not come."""
        self._held_bytes = 0
        self._base = offset
        """Offset of the first byte that is held, or comes next."""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        if self._skipping:
            end = data.find(b"\n") + 1
            self._base += end or len(data)
            if not end:
                return
            data = data[end:]
            self._skipping = False
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._hold(data)
        else:
            source = b"".join((*self._held, data[:cut])) if self._held else data[:cut]
            base, self._base = self._base, self._base + len(source)
            self._held, self._held_bytes = [], 0
            self._hold(data[cut:])
            yield from self._block(source, base)
        if self._held_bytes > self._limits.max_record_bytes:
            yield self._too_long(b"".join(self._held), self._base)
            self._base += self._held_bytes
            self._held, self._held_bytes = [], 0
            self._skipping = True

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        source = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        if source:
            self.tail_open = True
            yield from self._block(source, self._base)

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        return self._base, b"".join(self._held)[: self._limits.payload_bytes]

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)

    def _block(self, source: bytes, base: int) -> Iterator[Block]:
        lines = self.records(source)
        if not lines:
            return
        limit = self._limits.max_record_bytes
        if len(source) <= limit or max(map(len, lines)) <= limit:
            yield text_block(lines, source, base, self._limits)
            return
        whole = Block([], slices=lines, source=source, base=base)
        for index, line in enumerate(lines):
            offset = whole.offset_of(index)
            yield (
                self._too_long(line, offset) if len(line) > limit else text_block([line], line, offset, self._limits)
            )

    def records(self, source: bytes) -> list[bytes]:
        """The records in `source`, which is whole lines."""
        lines = source.split(b"\n")
        if b"\r" in source:
            return [line.removesuffix(b"\r") for line in lines if line and not line.isspace()]
        return [line for line in lines if line and not line.isspace()]

    def _too_long(self, data: bytes, offset: int) -> Block:
        damage = Damage(
            reason="record_too_long",
            detail=f"the line is longer than {self._limits.max_record_bytes} bytes",
            payload=data[: self._limits.payload_bytes],
            offset=offset,
        )
        return Block([damage], offsets=[offset])
