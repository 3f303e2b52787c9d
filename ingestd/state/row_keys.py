"""Compact keys for "this rule on this row": 24 bytes that sort by row, so that those of one object lie together."""

from __future__ import annotations

import hashlib
from functools import lru_cache

DAY_SECS = 86_400
"""Rows that are kept for days note the day since the epoch, by which they are forgotten."""
_ROW_BYTES = 16
_SCOPE_BYTES = 8


def row_key(row_id: str, *scope: str) -> bytes:
    """The row's 16 bytes, then 8 of a digest over `scope` (a detection's kind and id, for example)."""
    return _row(row_id) + _scope(scope)


def digest(*parts: str, size: int = 16) -> bytes:
    """A digest of texts in which the boundaries between them count."""
    text = "\0".join(parts)
    lengths = ",".join(str(len(part)) for part in parts)
    return hashlib.blake2b(f"{lengths}:{text}".encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _row(row_id: str) -> bytes:
    if len(row_id) == 2 * _ROW_BYTES:
        try:
            return bytes.fromhex(row_id)
        except ValueError:
            pass  # not one of our own row ids: digested like any other text
    return digest(row_id, size=_ROW_BYTES)


@lru_cache(maxsize=8192)
def _scope(scope: tuple[str, ...]) -> bytes:
    return digest(*scope, size=_SCOPE_BYTES)
