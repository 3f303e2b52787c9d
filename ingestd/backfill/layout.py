"""Folders that carry dates: from a template and a span of time to the prefixes worth listing.

    */CloudTrail/*/%Y/%m/%d/       ──►  111122223333/CloudTrail/eu-central-1/2026/01/31/ …

`*` stands for any folder (or part of its name), which is looked up; `%Y %m %d %H` for the time. Prefixes come in the
order of their keys, so that all of them together are one listing in key order.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from ingestd.stores.base import Store

_CODE = re.compile(r"%(.)")
_STEPS = {"H": timedelta(hours=1), "d": timedelta(days=1), "m": timedelta(days=1), "Y": timedelta(days=1)}
MOST_STEPS = 100_000
"""Hours of eleven years; more is a slip of the pen."""


def check(template: str, since: datetime | None) -> None:
    """Raises `ValueError` when a template cannot be used."""
    codes = _CODE.findall(template)
    unknown = sorted(set(codes) - set(_STEPS))
    if unknown:
        raise ValueError(f"%{unknown[0]} is not understood in a layout; %Y, %m, %d and %H are")
    if "Y" not in codes:
        raise ValueError("a layout says where the date is: %Y, %m, %d and perhaps %H")
    if since is None:
        raise ValueError("a layout needs --since: its folders are counted from there")


def dates(template: str, since: datetime, until: datetime) -> list[str]:
    """The template for each step of the time, in key order, each once. Raises `ValueError` when they are too many."""
    codes = _CODE.findall(template)
    step = min(_STEPS[code] for code in codes)
    at = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if step >= timedelta(days=1):
        at = at.replace(hour=0)
    if (until - at) / step > MOST_STEPS:
        raise ValueError(f"there are more than {MOST_STEPS:,} folders between {since:%Y-%m-%d} and {until:%Y-%m-%d}")
    found = set()
    while at < until:
        found.add(_CODE.sub(lambda code, at=at: f"{at:%{code[1]}}", template))  # type: ignore[misc]
        at += step
    return sorted(found)


async def prefixes(
    store: Store, bucket: str, prefix: str, template: str, since: datetime, until: datetime
) -> AsyncIterator[str]:
    """The prefixes of this template below `prefix`, in key order; those with a `*` exist."""
    segments = template.strip("/").split("/")
    dated = next(at for at, segment in enumerate(segments) if _CODE.search(segment))
    last = max(at for at, segment in enumerate(segments) if _CODE.search(segment))
    async for start in _matching(store, bucket, prefix, segments[:dated]):
        for date in dates("/".join(segments[dated : last + 1]), since, until):
            async for found in _matching(store, bucket, start, [*date.split("/"), *segments[last + 1 :]]):
                yield found


async def _matching(store: Store, bucket: str, prefix: str, segments: Sequence[str]) -> AsyncIterator[str]:
    """`prefix` with folders that match the segments; only those with a `*` are looked up."""
    if not segments:
        yield prefix
        return
    segment, rest = segments[0], segments[1:]
    if "*" not in segment:
        async for found in _matching(store, bucket, f"{prefix}{segment}/", rest):
            yield found
        return
    async for folder in store.list_folders(bucket, prefix):
        if fnmatchcase(folder[len(prefix) : -1], segment):
            async for found in _matching(store, bucket, folder, rest):
                yield found
