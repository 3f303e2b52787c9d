"""What the index of a Parquet file says of its size, read before the library sees it.

The library ends the process on some damaged indexes when it is asked for these numbers; so they are taken from the
bytes (Thrift's compact protocol), of which everything else is passed over.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_VARINTS: Final = (4, 5, 6)
_MOST_DEPTH: Final = 20
_MOST_KEPT: Final = 200_000

# Numbers of fields in the structures of the format.
_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS = 1
_META_DATA = 3
_NUM_VALUES, _PLAIN_SIZE = 5, 6


class Sizes(NamedTuple):
    """As the index has it, which may lie."""

    rows: int
    values: int
    """Of all columns, nulls too."""
    plain_bytes: int


def sizes(index: bytes) -> Sizes:
    """Raises ValueError when the bytes are no index."""
    reader = _Reader(index)
    try:
        found = reader.struct(
            {_ROWS: None, _ROW_GROUPS: {_COLUMNS: {_META_DATA: {_NUM_VALUES: None, _PLAIN_SIZE: None}}}}
        )
    except IndexError:
        raise ValueError("the index ends early") from None
    groups = _items(found.get(_ROW_GROUPS))
    columns = [column.get(_META_DATA) for group in groups for column in _items(group.get(_COLUMNS))]
    chunks = [chunk for chunk in columns if isinstance(chunk, dict)]
    return Sizes(
        rows=_count(found.get(_ROWS)),
        values=sum(_count(chunk.get(_NUM_VALUES)) for chunk in chunks),
        plain_bytes=sum(_count(chunk.get(_PLAIN_SIZE)) for chunk in chunks),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _items(value: Any) -> list[dict[int, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class _Reader:
    """`wanted` is a tree of the fields that matter: number → fields within, None for a plain value."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._depth = 0
        self._kept = 0

    def struct(self, wanted: dict[int, Any]) -> dict[int, Any]:
        """The wanted fields of the structure that begins here. Raises IndexError, ValueError."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError("the index nests too deep")
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self._zigzag()
            if number in wanted:
                found[number] = self._value(kind, wanted[number] or {})
            else:
                self._value(kind, {})
        self._depth -= 1
        return found

    def _value(self, kind: int, wanted: dict[int, Any]) -> Any:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _VARINTS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(wanted)
        if kind in (_LIST, _SET):
            return self._list(wanted)
        if kind == _BINARY:
            self._skip(self._varint())
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BYTE:
            self._skip(1)
        elif kind == _MAP:
            self._map()
        else:
            raise ValueError(f"a field of the unknown type {kind} in the index")
        return None

    def _list(self, wanted: dict[int, Any]) -> list[Any]:
        head = self._byte()
        size, kind = head >> 4, head & 0x0F
        if size == 0x0F:
            size = self._varint()
        if kind in (_TRUE, _FALSE):
            self._skip(size)
            return []
        if wanted:
            self._kept += size
        if self._kept > _MOST_KEPT:
            raise ValueError(f"more than {_MOST_KEPT} columns and row groups in the index")
        values = (self._value(kind, wanted) for _ in range(size))
        return [value for value in values if wanted]

    def _map(self) -> None:
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._value(kinds >> 4, {})
            self._value(kinds & 0x0F, {})

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than ten bytes in the index")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
