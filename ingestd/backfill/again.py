"""Reading once more what was read already, for instance after a schema was mended.

Under a name for the repetition every object has another identity, and so every record another row id: the ledger
takes them for new, and the same name again goes on where it was broken off.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from ingestd.model import Check, Identity, ObjectRef
from ingestd.stores.base import ListedObject, OpenObject, Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_name(name: str) -> str:
    """Raises `ValueError` for what cannot be part of an identity."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a repetition: letters, digits, `_`, `.` and `-`, 64 at most")
    return name


class Again(Store):
    """A store whose objects are others than when they were read first."""

    def __init__(self, store: Store, repetition: str) -> None:
        self.name = store.name
        self._store = store
        self._suffix = f"@{repetition}"

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """See `Store`."""
        opened = await self._store.open(ref, offset=offset)
        opened.identity = Identity(opened.identity + self._suffix)
        opened.may_grow, opened.grown_from, opened.look_again_secs = False, None, None  # it is read as it is now
        return opened

    def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`."""
        return self._store.list_objects(bucket, prefix, start_after=start_after)

    def list_folders(self, bucket: str, prefix: str) -> AsyncIterator[str]:
        """See `Store`."""
        return self._store.list_folders(bucket, prefix)

    def listed_identity(self, ref: ObjectRef) -> Identity | None:
        """See `Store`."""
        identity = self._store.listed_identity(ref)
        return Identity(identity + self._suffix) if identity is not None else None

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`."""
        return await self._store.check(bucket, prefix)

    async def close(self) -> None:
        """See `Store`."""
        await self._store.close()
