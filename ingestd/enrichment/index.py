"""Many rows under their keys, in little memory: rows lie in a mapped temporary file, beside them 16 bytes each.

The tables of a generation of code are made once and shared by all children that are forked after. Python's own
containers would not stay shared: looking at an object changes its count of references, and so copies its page.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from array import array
from bisect import bisect_right
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_HEADER: Final = struct.Struct("<II")
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


class IndexBuilder:
    """Takes rows; `size` is what they take up so far. What it raises when there is no room for them is `OSError`."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="ingestd-table-")  # noqa: SIM115 - `finish` closes it
        self._hashes = array("Q")
        self._offsets = array("Q")
        self._end = 0

    @property
    def size(self) -> int:
        """Bytes, in memory and in the file."""
        return self._end + 16 * len(self._hashes)

    def add(self, key: bytes, row: bytes) -> None:
        """A row. Of several with one key the last counts."""
        self._hashes.append(hash(key) & _MASK)
        self._offsets.append(self._end)
        self._file.write(_HEADER.pack(len(key), len(row)))
        self._file.write(key)
        self._file.write(row)
        self._end += _HEADER.size + len(key) + len(row)

    def finish(self) -> Index:
        """The index; nothing can be added any more."""
        order = pc.sort_indices(pa.array(self._hashes, pa.uint64()))  # stable: the last of equal ones stays the last
        hashes, offsets = _in_order(self._hashes, order), _in_order(self._offsets, order)
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ) if self._end else b""
        self._file.close()
        return Index(hashes, offsets, mapped)


def _in_order(values: array[int], order: pa.UInt64Array) -> array[int]:
    taken = pa.array(values, pa.uint64()).take(order)
    ordered = array("Q")
    ordered.frombytes(memoryview(taken.buffers()[1] or b"")[: 8 * len(values)])
    return ordered


class Index:
    """Rows by key."""

    def __init__(self, hashes: array[int], offsets: array[int], rows: mmap.mmap | bytes) -> None:
        self._hashes = hashes
        self._offsets = offsets
        self._rows = rows

    def __len__(self) -> int:
        return len(self._hashes)

    def get(self, key: bytes) -> bytes | None:
        """The row under this key."""
        wanted = hash(key) & _MASK
        at = bisect_right(self._hashes, wanted) - 1
        while at >= 0 and self._hashes[at] == wanted:
            offset = self._offsets[at]
            key_length, row_length = _HEADER.unpack_from(self._rows, offset)
            start = offset + _HEADER.size
            if self._rows[start : start + key_length] == key:
                return self._rows[start + key_length : start + key_length + row_length]
            at -= 1
        return None
