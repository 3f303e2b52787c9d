"""What a backfill is to read, as the command line says it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

from ingestd.model import ObjectRef

_URL = re.compile(r"([a-z0-9]+)://([^/\s]+)/?(.*)", re.DOTALL)
_AGO = re.compile(r"(\d+)([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Place(msgspec.Struct, frozen=True):
    """`s3://bucket/prefix` in parts."""

    scheme: str
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        """As it was written, but for a slash."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to list, and what of it to read. Times are aware; `until` is exclusive."""

    place: Place
    since: datetime | None = None
    until: datetime | None = None
    layout: str = ""
    """Template of the folders below the prefix, e.g. `*/CloudTrail/*/%Y/%m/%d/`: times then are those in the key."""
    inventory: Place | None = None
    """The manifest of an S3 Inventory, read in place of a listing."""
    again: str = ""
    """Name of a repeated reading; empty for the first."""

    def wants(self, ref: ObjectRef, modified: datetime | None) -> bool:
        """Whether an object that the listing names is to be read."""
        if not ref.key.startswith(self.place.prefix):
            return False
        if self.layout or (self.since is None and self.until is None):
            return True
        if modified is None:
            return True  # rather once too often: the ledger knows what was read
        return (self.since is None or modified >= self.since) and (self.until is None or modified < self.until)


def place(text: str) -> Place:
    """Raises `ValueError` for what is no address of objects."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no address; write for example s3://bucket/prefix")
    return Place(found[1], found[2], found[3])


def moment(text: str, now: datetime) -> datetime:
    """`2026-01-31`, `2026-01-31T12:00Z` (UTC unless it says otherwise) or `30d`, `12h`, `45m` ago.

    Raises `ValueError`."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write for example 2026-01-31, 2026-01-31T12:00Z or 30d") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
