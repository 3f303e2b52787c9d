"""How far a backfill has come, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ingestd.backfill.listing import Listing
from ingestd.errors import IngestdError

LEAST_SECS = 3.0
"""Nothing is said about the rest of the time before so much of it has passed."""


class Tally:
    """Counts of one run; sizes as the listing says them, in stored bytes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.objects = self.bytes = 0
        """Finished in this run, whether read or found to be known."""
        self.known_objects = self.known_bytes = 0
        """Of these, done before this run."""
        self.set_aside = 0
        """Of these, given up: each is a row in `rejects`."""
        self.total_objects = self.total_bytes = 0
        """In the listing from where this run began, as far as counted."""
        self.is_counted = False
        self.is_complete = False
        """Every object of the listing is finished."""
        self.failure = ""
        """Why the listing could not be read on."""
        self._clock = clock
        self._began = clock()

    async def count(self, listing: Listing, after: str = "") -> None:
        """Go through the listing for its number and size only. It stays uncounted when that fails: the walk that
        reads meets the same trouble, and tells of it."""
        try:
            async for entry in listing.walk(after):
                self.total_objects += 1
                self.total_bytes += entry.ref.size or 0
        except IngestdError:
            return
        self.is_counted = True

    def finished(self, size: int) -> None:
        """An object of this size is done with."""
        self.objects += 1
        self.bytes += size

    def known(self, size: int) -> None:
        """An object of this size was done before."""
        self.finished(size)
        self.known_objects += 1
        self.known_bytes += size

    @property
    def waiting(self) -> int:
        """Objects that are left, those under way included."""
        return max(0, self.total_objects - self.objects)

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the pace so far, counted in bytes and in objects, whichever is longer; None before that
        can be said. What was known already took no time and says nothing about the rest."""
        passed = self._clock() - self._began
        objects, size = self.objects - self.known_objects, self.bytes - self.known_bytes
        if not self.is_counted or passed < LEAST_SECS or not objects:
            return None
        by_objects = passed * self.waiting / objects
        by_bytes = passed * max(0, self.total_bytes - self.bytes) / size if size else 0.0
        return max(by_objects, by_bytes)

    def facts(self) -> dict[str, Any]:
        """For the log and for scripts."""
        left = self.seconds_left
        return {
            "objects": self.objects,
            "bytes": self.bytes,
            "known": self.known_objects,
            "set_aside": self.set_aside,
            "total_objects": self.total_objects if self.is_counted else None,
            "total_bytes": self.total_bytes if self.is_counted else None,
            "seconds_left": None if left is None else round(left),
        }
