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
        """Whole rows from `at` on, and where they end. Only rows with an odd number of quotes are looked into."""
        rows: list[bytes] = []
        end = at
        while True:
            line_end = source.find(b"\n", end)
            last = line_end < 0
            line_end = len(source) if last else line_end
            while (
                not last and source.count(b'"', end, line_end) % 2 and not self._row.fullmatch(source, end, line_end)
            ):
                quote = source.find(b'"', line_end)
                line_end = source.find(b"\n", quote) if quote >= 0 else -1
                last = line_end < 0
                line_end = len(source) if last else line_end
            if last:
                if not ended or end == len(source):
                    return rows, end
                if source.count(b'"', end) % 2 and not self._row.fullmatch(source, end):
                    return rows, end
                self.tail_open = True
            row = source[end:line_end].removesuffix(b"\r")
            if row and not row.isspace():
                rows.append(row)
            end = min(line_end + 1, len(source))

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
    """Matches a row whose quoted fields are all closed."""
    d = re.escape(delimiter)
    field = rb'(?:"(?:[^"]++|"")*+"[^' + d + rb"]*+|[^" + d + rb'"][^' + d + rb"]*+|)"
    return re.compile(field + rb"(?:" + d + field + rb")*+\r?", re.DOTALL)
