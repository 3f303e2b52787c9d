"""When the daemon looks for garbage in cycles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from ingestd import garbage


class Ring:
    """Garbage in a cycle, once nobody has it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


async def test_cycles_go_by_the_clock_and_not_by_how_much_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many new objects do not make Python look; the next turn of the clock does."""
    monkeypatch.setattr(garbage, "BEGINNING_SECS", 0.0)
    monkeypatch.setattr(garbage, "EVERY_SECS", 0.0)
    garbage.look_rarely()
    gc.collect()
    went = asyncio.Event()
    ring = weakref.ref(Ring(), lambda _: went.set())
    held = [[number] for number in range(garbage.MOST_NEW // 2)]
    assert ring() is not None
    looking = asyncio.create_task(garbage.look_now_and_then())
    await asyncio.wait_for(went.wait(), 10)
    looking.cancel()
    assert len(held) == garbage.MOST_NEW // 2
