"""Counting distinct values in bounded memory: exact up to 1,023, an estimate within some percent beyond.

The sketch keeps the smallest hashes it has seen ("k minimum values"). While fewer than K are kept, all are, and
their number is the answer; after that the K-th smallest says how densely the values fill the space of hashes.
The standard error is 1 / sqrt(K - 2), which is 3 %.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections.abc import Iterable

K = 1_024
_HASH_BYTES = 8
_SPACE = 1 << (8 * _HASH_BYTES)


class Distinct:
    """A set of texts that remembers only how many they are."""

    __slots__ = ("_hashes",)

    def __init__(self, data: bytes | None = None) -> None:
        """From what `to_bytes` gave; None is the empty set."""
        self._hashes: set[int] = set(struct.unpack(f"<{len(data) // _HASH_BYTES}Q", data)) if data else set()

    def add_all(self, values: Iterable[str]) -> None:
        """Add values; those that are there already change nothing."""
        for value in values:
            encoded = value.encode("utf-8", "surrogatepass")
            self._hashes.add(int.from_bytes(hashlib.blake2b(encoded, digest_size=_HASH_BYTES).digest(), "little"))
            if len(self._hashes) > 2 * K:
                self._hashes = set(heapq.nsmallest(K, self._hashes))

    def __len__(self) -> int:
        if len(self._hashes) < K:
            return len(self._hashes)
        kth = heapq.nsmallest(K, self._hashes)[-1]
        return max(K, (K - 1) * _SPACE // (kth + 1))

    def to_bytes(self) -> bytes:
        """At most 8 KiB, for the state."""
        kept = heapq.nsmallest(K, self._hashes)
        return struct.pack(f"<{len(kept)}Q", *kept)
