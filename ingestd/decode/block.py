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

    __slots__ = ("_base", "_offsets", "_slices", "_source", "first", "header", "records")

    def __init__(
        self,
        records: list[Record],
        source: bytes = b"",
        base: int = 0,
        *,
        slices: Sequence[bytes] | None = None,
        offsets: list[int] | None = None,
        header: dict[str, Any] | None = None,
    ) -> None:
        """Either `offsets` are given, or `source` (which begins at plain offset `base`) holds the records as
        `slices`, in order, with nothing between them that could be mistaken for one. Without `slices` the
        records are the slices."""
        self.first = 0
        self.records = records
        self.header = header
        self._source = source
        self._base = base
        self._slices = slices
        self._offsets = offsets

    def offset_of(self, index: int) -> int:
        """Offset of `records[index]` in the plain stream. Costs a search through the block: for rejects only."""
        if self._offsets is not None:
            return self._offsets[index]
        slices = self.records if self._slices is None else self._slices
        position = start = 0
        for piece in slices[: index + 1]:
            if isinstance(piece, bytes):
                start = self._source.index(piece, position)
                position = start + len(piece)
        return self._base + start
