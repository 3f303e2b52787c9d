"""Tasks that go on until they are cancelled, whatever one of their turns meets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ingestd.errors import Retryable
from ingestd.telemetry import occurrences
from ingestd.telemetry.catalogue import Stage

PAUSE_SECS = 1.0


async def for_ever(
    turn: Callable[[], Awaitable[None]], stage: Stage, *, every_secs: float | Callable[[], float] = 0.0
) -> None:
    """Call `turn` again and again, `every_secs` apart: a callable is asked after each turn. What it raises is told;
    the next turn comes after a pause."""
    while True:
        try:
            await turn()
        except Retryable as error:
            occurrences.retrying(stage, error, in_secs=max(PAUSE_SECS, _now(every_secs)))
            await asyncio.sleep(PAUSE_SECS)
        except Exception as error:  # noqa: BLE001 - a task that ends in silence is worse than any mistake in one turn
            occurrences.internal_error(stage, error)
            await asyncio.sleep(PAUSE_SECS)
        await asyncio.sleep(_now(every_secs))


def _now(secs: float | Callable[[], float]) -> float:
    return secs() if callable(secs) else secs
