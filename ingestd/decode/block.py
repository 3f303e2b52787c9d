"""What comes out of decoding: blocks of records, with a `Damage` in the place of each record that is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Stands in the place of a record that could not be framed, and takes its ordinal."""

    reason: str
    """snake_case, for metrics and the table of rejects."""
    detail: str
    """For the reader: what was found, where, which limit."""
    payload: bytes = b""
    """The beginning of the damaged bytes, at most `Limits.payload_bytes`."""
    offset: int | None = None
    """Where it begins in the plain stream; None when that is not known."""


class Fatal(Exception):
    """Nothing more can be read from this object. Raised inside decoding only; `ObjectDecoder` turns it into the
    last `Damage`. `whole` says that what came before it ends where a record may end."""

    def __init__(
        self, reason: str, detail: str, *, payload: bytes = b"", offset: int | None = None, whole: bool = False
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.payload = payload
        self.offset = offset
        self.whole = whole


Record = bytes | Damage


class Block:
    """Consecutive records of one object.

    `first` is the ordinal of `records[0]`, set by `ObjectDecoder`. A record is the bytes of one line, row or JSON
    value, without what separates it from the next. `header` holds envelope fields that all records of the block
    share. Offsets are not kept per record: `offset_of` works one out.
    """

    __slots__ = ("_base", "_cursor", "_offsets", "_slices", "_source", "first", "header", "records")

    def __init__(
        self,
        records: list[Record],
        *,
        offsets: list[int] | None = None,
        slices: Sequence[bytes] = (),
        source: bytes = b"",
        base: int = 0,
        header: dict[str, Any] | None = None,
    ) -> None:
        """Either `offsets` are given, or what the records were cut from: `slices` lie in `source`, which begins at
        plain offset `base`, in order, with nothing between them in which the next one could be found."""
        self.first = 0
        self.records = records
        self.header = header
        self._offsets = offsets
        self._slices = slices
        self._source = source
        self._base = base
        self._cursor = (0, 0)
        """A slice that was looked for, and where the search for it began: rejects come in order."""

    def offset_of(self, index: int) -> int:
        """Offset of `records[index]` in the plain stream. Costs a search through the block: for rejects only."""
        if self._offsets is not None:
            return self._offsets[index]
        at, position = self._cursor if self._cursor[0] <= index else (0, 0)
        for piece in self._slices[at:index]:
            position = self._source.index(piece, position) + len(piece)
        self._cursor = (index, position)
        return self._base + self._source.index(self._slices[index], position)
