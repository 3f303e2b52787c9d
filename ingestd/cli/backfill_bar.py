"""The progress bar of `ingestd backfill`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingestd.backfill.tally import Tally

REFRESH_SECS = 0.2


@contextmanager
def shown(tally: Tally) -> Iterator[None]:
    """Show the bar on stderr while the block runs."""
    progress = Progress(
        TextColumn("objects"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task("objects", total=None, facts="")
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(REFRESH_SECS):
            total = tally.total_objects if tally.is_counted else None
            progress.update(task, completed=tally.objects, total=total, facts=facts(tally))

    with progress:
        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


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
