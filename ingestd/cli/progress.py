"""Progress bars. That of `ingestd run --once` reads the metrics, so that the daemon knows nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingestd.cli import output

REFRESH_SECS = 0.2


State = tuple[float, float | None, str]
"""How much is done, of how much (None while nobody knows), and what else there is to say."""


@contextmanager
def bar(of: str, state: Callable[[], State]) -> Iterator[None]:
    """Show a bar on stderr while the block runs, as `state` tells again and again."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(of, total=None, facts="")
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(REFRESH_SECS):
            done, total, facts = state()
            progress.update(task, completed=done, total=total, facts=facts)

    with progress:
        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def shown() -> Iterator[None]:
    """The bar of `ingestd run --once`, and in the end what there was."""
    with bar("messages", now):
        yield
    done, _, facts = now()
    output.note(f"{done:,.0f} messages, {facts}")


def now() -> tuple[float, float, str]:
    """Messages finished, messages known of, and what came out of them."""
    from ingestd.telemetry import catalogue

    done = catalogue.total(catalogue.MESSAGES, outcome="acked")
    open_ = catalogue.total(catalogue.MESSAGES_IN_FLIGHT) + catalogue.total(catalogue.QUEUE_DEPTH)
    records = catalogue.total(catalogue.RECORDS, outcome="ok")
    alerts = catalogue.total(catalogue.ALERTS_RAISED)
    return done, done + open_, f"{records:,.0f} events, {alerts:,.0f} alerts"
