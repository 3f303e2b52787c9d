"""The progress bar of `ingestd backfill`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.filesize import decimal

from ingestd.backfill.tally import Tally
from ingestd.cli import progress


@contextmanager
def shown(tally: Tally) -> Iterator[None]:
    """Show the bar on stderr while the block runs."""

    def state() -> progress.State:
        return tally.objects, tally.total_objects if tally.is_counted else None, facts(tally)

    with progress.bar("objects", state):
        yield


def facts(tally: Tally) -> str:
    """Size, what was known, and the rest of the time."""
    size = decimal(tally.bytes)
    size += f" of {decimal(tally.total_bytes)}" if tally.is_counted else f", {tally.total_objects:,} listed so far"
    left = tally.seconds_left
    parts = [size]
    if tally.known_objects:
        parts.append(f"{tally.known_objects:,} known")
    if tally.set_aside:
        parts.append(f"{tally.set_aside:,} set aside")
    if left is not None:
        parts.append(f"{timedelta(seconds=round(left))} left")
    return ", ".join(parts)
