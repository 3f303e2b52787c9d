"""When this process looks for garbage in cycles: rarely, and by the clock.

Thousands of messages are held, each some dozens of objects that live until the next commit and are no garbage. To
look through them whenever so many new ones are there, as Python does, takes a quarter of the parent's time, or makes
the event loop late again and again. There is little garbage in cycles, and it can wait.
"""

from __future__ import annotations

import asyncio
import gc

BEGINNING_SECS = 10.0
"""Clients of clouds are made when they are first needed."""
EVERY_SECS = 60.0
MOST_NEW = 300_000
"""Objects that are new since the last look, at which one is taken before its time: errors by the thousand have
cycles. Twice what some thousand messages hold."""


def look_rarely() -> None:
    """Take none of Python's own looks, but for a flood."""
    gc.set_threshold(MOST_NEW, 10, 10)


async def look_now_and_then() -> None:
    """Until cancelled. What is there when all sources have begun, such as modules, clients and settings, is looked
    through once and never again."""
    await asyncio.sleep(BEGINNING_SECS)
    gc.collect()
    gc.freeze()
    while True:
        await asyncio.sleep(EVERY_SECS)
        gc.collect()
