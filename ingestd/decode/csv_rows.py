"""Records that are CSV rows: lines, but a quoted field may hold line ends. What the columns mean is the schema's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingestd.decode.block import Block, Damage
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_block


class CsvFramer:
    """Rows ended by LF or CRLF outside quotes. A quote opens a field only where a field begins, as RFC 4180 has it,
    so that `5" disk` does not swallow the rows after it. Rows of whitespace only take no ordinal.

    A quote that is not closed within a record's limit, or by the end of the object, damages its own line only.
    """

    def __init__(self, limits: Limits, offset: int, delimiter: str = ",") -> None:
        self.tail_open = False
        self._limits = limits
        self._base = offset
        """Offset of the first byte that is held."""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._look_at = 0
        """Look again when so much is held: an open row is not looked at anew for each piece."""
        self._skipping = False
        self._row = _row_pattern(delimiter.encode())

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        if self._skipping:
            end = data.find(b"\n") + 1
            self._base += end or len(data)
            self._skipping = not end
            data = data[end:] if end else b""
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        if self._held_bytes > self._look_at:
            yield from self._cut(ended=False)

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        yield from self._cut(ended=True)

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        return self._base, b"".join(self._held)[: self._limits.payload_bytes]

    def _cut(self, *, ended: bool) -> Iterator[Block]:
        source = b"".join(self._held)
        limit = self._limits.max_record_bytes
        at = 0
        while at < len(source):
            rows, end = self._rows(source, at, ended=ended)
            if end > at:
                yield from self._block(rows, source[at:end], self._base + at)
                at = end
                continue
            if not ended and len(source) - at <= limit:
                break
            line_end = source.find(b"\n", at) + 1
            reason, detail = "unclosed_quote", "a quote opens a field in this row and is not closed"
            if not line_end:
                line_end = len(source)
                if not ended:
                    self._skipping = True
                    reason, detail = "record_too_long", f"the row is longer than {limit} bytes"
            yield self._damage(reason, detail, source[at:line_end], self._base + at)
            at = line_end
        self._base += at
        self._held = [source[at:]] if at < len(source) else []
        self._held_bytes = len(source) - at
        self._look_at = min(2 * self._held_bytes, limit)

    def _rows(self, source: bytes, at: int, *, ended: bool) -> tuple[list[bytes], int]:
        """Whole rows from `at` on, and where they end. Only rows with quotes are looked into."""
        rows: list[bytes] = []
        size = len(source)
        while at < size:
            end = source.find(b"\n", at)
            end = size if end < 0 else end
            if source.find(b'"', at, end) >= 0:
                match = self._row.match(source, at)
                if match is None:
                    break
                end = match.end()
            if end == size:
                if not ended:
                    break
                self.tail_open = True
            row = source[at:end].removesuffix(b"\r")
            if row and not row.isspace():
                rows.append(row)
            at = min(end + 1, size)
        return rows, at

    def _block(self, rows: list[bytes], source: bytes, base: int) -> Iterator[Block]:
        limit = self._limits.max_record_bytes
        if not rows:
            return
        if len(source) <= limit or max(map(len, rows)) <= limit:
            yield text_block(rows, source, base, self._limits)
            return
        whole = Block([], slices=rows, source=source, base=base)
        for index, row in enumerate(rows):
            offset = whole.offset_of(index)
            if len(row) > limit:
                yield self._damage("record_too_long", f"the row is longer than {limit} bytes", row, offset)
            else:
                yield text_block([row], row, offset, self._limits)

    def _damage(self, reason: str, detail: str, data: bytes, offset: int) -> Block:
        payload = data[: self._limits.payload_bytes]
        return Block([Damage(reason=reason, detail=detail, payload=payload, offset=offset)], offsets=[offset])


def _row_pattern(delimiter: bytes) -> re.Pattern[bytes]:
    """Matches a row up to its line end or that of the data; not one with a quoted field that is open there."""
    other = rb"[^" + re.escape(delimiter) + rb"\n]*+"
    field = rb'(?:"(?:[^"]++|"")*+"' + other + rb'|(?!")' + other + rb")"
    return re.compile(field + rb"(?:" + re.escape(delimiter) + field + rb")*+(?=\n|\Z)", re.DOTALL)
