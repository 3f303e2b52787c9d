"""Walking through a bucket: by prefix, by folders with dates, or by an inventory.

A listing is cloud-neutral: it needs a store that lists in an order that stays, and opens what it listed. Each object
comes with a position, an opaque text from which a later walk goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

from ingestd.backfill import layout
from ingestd.backfill.plan import Plan
from ingestd.model import ObjectRef
from ingestd.stores.base import Store


class Entry(msgspec.Struct, frozen=True):
    """An object of the listing that is to be read."""

    position: str
    ref: ObjectRef


class Listing(ABC):
    """Objects that a plan asks for. Walks do not share anything: several may be under way."""

    @abstractmethod
    def walk(self, after: str = "") -> AsyncIterator[Entry]:
        """The objects behind a position, in an order that stays the same; all of them when the position means nothing
        here any more. Bounded memory.

        Raises `Retryable`, after which a new walk from the last position may succeed, or `Permanent`."""


class PrefixListing(Listing):
    """What lies under the prefix now, in the order of the store; a position is a key."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan

    async def walk(self, after: str = "") -> AsyncIterator[Entry]:
        """See `Listing`."""
        bucket = self._plan.place.bucket
        async for prefix in self._prefixes():
            if prefix < after and not after.startswith(prefix):
                continue  # all of its keys are before the position
            async for listed in self._store.list_objects(bucket, prefix, start_after=after):
                if self._plan.wants(listed.ref, listed.last_modified):
                    yield Entry(listed.ref.key, listed.ref)

    async def _prefixes(self) -> AsyncIterator[str]:
        plan = self._plan
        if not plan.layout or plan.since is None:
            yield plan.place.prefix
            return
        until = plan.until or datetime.now(UTC)
        place = plan.place
        async for prefix in layout.prefixes(self._store, place.bucket, place.prefix, plan.layout, plan.since, until):
            yield prefix
