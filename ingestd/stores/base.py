"""The contract of a store: where objects are read from.

A store is one file of this package (or an entry point in `ingestd.stores`) whose name is in
`ObjectRef.store`. The file has `build(**settings) -> Store`, called with what the source's `stores` says; the SDK is
imported inside it, or later.
`tests/conformance/test_stores.py` holds every store to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime

import msgspec

from ingestd.model import Check, Identity, ObjectRef


class ListedObject(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a listing."""

    ref: ObjectRef
    last_modified: datetime | None = None


class OpenObject(ABC):
    """An object under reading. Use as an async context manager; leaving it lets go of the connection."""

    ref: ObjectRef
    """The object; where objects grow it is pinned, so that opening it again gives this content and not more."""
    identity: Identity
    """From the read response, never from the notice."""
    size: int | None
    origin: dict[str, str]
    """`p_source_file` of its events."""
    modified: float | None = None
    """When this content was stored, in seconds since the epoch, where the store says."""
    may_grow: bool = False
    """Whether it may be appended to later, so that its identity or progress is looked up by its URL then."""
    grown_from: Identity | None = None
    """Set when `ref.growth` was given and the content still starts with what was read then."""
    start: int = 0
    """Where `chunks` begins, when that is right behind `ref.growth`; its ordinals go on there."""
    whole: bytes | None = None
    """All that `chunks` would yield, where it came with the answer: then nobody need wait for it."""
    look_again_secs: float | None = None
    """For an object that is appended to: when more may be there; 0 when this is all. None for all others."""

    @abstractmethod
    def chunks(self) -> AsyncIterator[bytes]:
        """The stored bytes (still compressed), in pieces of at most 1 MiB, once.

        A connection that breaks is resumed by range against the same identity inside the iterator.
        Raises `Retryable` when that is no longer possible, `Superseded` when the content changed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Idempotent."""

    async def __aenter__(self) -> OpenObject:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Store(ABC):
    """Objects by reference. Called from one event loop; many reads may be under way at once."""

    name: str
    objects_grow: bool = False
    """Whether there are objects that may be appended to: `open` then understands `ref.growth`."""
    follows: bool = False
    """Whether `open` may ask for another look by `look_again_secs`."""

    @abstractmethod
    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """Start a read at byte `offset`. Pinned to `ref.etag` / `ref.version` when given.

        Raises `Permanent` (reason `not_found`, `forbidden`, `archived`, `superseded`, …) or `Retryable`.
        The message names the object and, when refused, the permission that is missing.
        """

    @abstractmethod
    def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """Objects under a prefix, page by page in bounded memory, in an order that stays the same: that of their
        keys, except where a service puts what is in a folder before its neighbours. Nothing that is listed after
        the object `start_after` is left out; where the order is not known, some from before it comes again."""

    async def list_folders(self, bucket: str, prefix: str) -> AsyncIterator[str]:
        """The folders right below a prefix, each with its slash, in key order: one request for each, however much
        lies in them."""
        after = ""
        while True:
            async with aclosing(self._first_folder(bucket, prefix, after)) as found:
                folder = await anext(found, None)
            if folder is None:
                return
            yield folder
            after = folder[:-1] + "0"  # what follows the slash: greater than every key of the folder

    async def _first_folder(self, bucket: str, prefix: str, after: str) -> AsyncGenerator[str, None]:
        async for listed in self.list_objects(bucket, prefix, start_after=after):
            name, slash, _ = listed.ref.key[len(prefix) :].partition("/")
            if slash:
                yield f"{prefix}{name}/"
                return

    def listed_identity(self, ref: ObjectRef) -> Identity | None:
        """What `open` would find an object of a listing to be, where the listing says enough; None where only the
        read response does. It saves opening what the ledger knows."""
        return None

    @abstractmethod
    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """Try each permission that reading needs."""

    @abstractmethod
    async def close(self) -> None:
        """Idempotent."""
