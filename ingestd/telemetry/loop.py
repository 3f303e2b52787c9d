"""The pulse: how late the event loop runs, told to the metrics, the health and the log."""

from __future__ import annotations

import asyncio

from ingestd.telemetry import catalogue, logs
from ingestd.telemetry.health import Health

TICK_SECS = 0.1
"""Often enough that p99 over a minute means something, rare enough to cost nothing."""
_FLUSH_EVERY = 10


async def watch(health: Health) -> None:
    """Measure until cancelled."""
    loop = asyncio.get_running_loop()
    ticks = 0
    while True:
        due = loop.time() + TICK_SECS
        await asyncio.sleep(TICK_SECS)
        catalogue.LOOP_LAG.observe(max(0.0, loop.time() - due))
        health.turned()
        ticks += 1
        if ticks % _FLUSH_EVERY == 0:
            logs.flush_folded()
