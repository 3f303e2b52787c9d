"""Objects in memory: a real store without a server, with knobs for faults."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from ingestd.errors import Permanent, Retryable, Superseded
from ingestd.model import Check, Identity, ObjectRef
from ingestd.stores.base import ListedObject, OpenObject, Store

PIECE_BYTES = 64 * 1024


class MemoryObject(OpenObject):
    """An object of a `MemoryStore` under reading."""

    def __init__(self, store: MemoryStore, ref: ObjectRef, data: bytes, etag: str, offset: int) -> None:
        self.ref = ref
        self.identity = Identity(f"{ref.url}#{etag}")
        self.size = len(data)
        self.origin = {"bucket": ref.bucket, "key": ref.key}
        self._store = store
        self._data = data
        self._offset = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        cut_at = self._store.cut_after.pop(self.ref.key, None)
        for start in range(self._offset, len(self._data), PIECE_BYTES):
            if cut_at is not None and start >= cut_at:
                raise Retryable(f"{self.ref.url}: the connection broke at byte {start}")
            yield self._data[start : start + PIECE_BYTES]

    async def close(self) -> None:
        """See `OpenObject`."""
        self._data = b""


class MemoryStore(Store):
    """See the module. Fault knobs: `fail_next` opens raise Retryable; `forbidden` keys are refused;
    `cut_after[key] = n` breaks the next read of that key at byte n or a little later."""

    name = "memory"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], tuple[bytes, datetime]] = {}
        self.fail_next = 0
        self.forbidden: set[str] = set()
        self.cut_after: dict[str, int] = {}
        self.opened: list[str] = []

    def put(self, bucket: str, key: str, data: bytes) -> ObjectRef:
        """Write an object; a reference pinned to this content."""
        self.objects[bucket, key] = (data, datetime.now(UTC))
        return ObjectRef(store=self.name, bucket=bucket, key=key, etag=_etag(data), size=len(data))

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> MemoryObject:
        """See `Store`."""
        self.opened.append(ref.key)
        if self.fail_next > 0:
            self.fail_next -= 1
            raise Retryable(f"{ref.url}: the store was told to fail")
        if ref.key in self.forbidden:
            raise Permanent(f"{ref.url}: reading is refused", reason="forbidden")
        found = self.objects.get((ref.bucket, ref.key))
        if found is None:
            raise Permanent(f"{ref.url}: no such object", reason="not_found")
        etag = _etag(found[0])
        if ref.etag is not None and ref.etag != etag:
            raise Superseded(f"{ref.url}: overwritten since it was announced")
        opened = MemoryObject(self, ref, found[0], etag, offset)
        opened.modified = found[1].timestamp()
        return opened

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`."""
        for (in_bucket, key), (data, modified) in sorted(self.objects.items()):
            if in_bucket == bucket and key.startswith(prefix) and key > start_after:
                ref = ObjectRef(store=self.name, bucket=bucket, key=key, etag=_etag(data), size=len(data))
                yield ListedObject(ref=ref, last_modified=modified)

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`."""
        return [Check(what=f"memory bucket {bucket}", ok=True)]

    async def close(self) -> None:
        """See `Store`."""


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
