"""What the daemon's own process spends while children work: the real pool, lake and ledger, nothing else."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from bench import real
from bench.generate import RECORDS_PER_OBJECT
from ingestd import garbage
from ingestd.lake.files import LocalFiles
from ingestd.lake.writer import Writer, WriterSettings
from ingestd.ledger import Ledger
from ingestd.model import ChunkResult
from ingestd.state.sqlite import SqliteState
from ingestd.workers.pool import Pool
from ingestd.workers.settings import PoolSettings

TICK_SECS = 0.02
OBJECTS = 12


async def measure(rules: Path, objects: list[bytes]) -> None:
    """Print the parent's CPU per event, and how late its loop is, with 1, 2 and 4 children."""
    garbage.look_rarely()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"\n{'the parent':12} {'us CPU/event':>13} {'loop lag p50':>13} {'p99':>9} {'max':>9}   events/s of wall")
    for children in (1, 2, 4):
        await _measure(children, rules, objects)


async def _measure(children: int, rules: Path, objects: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = SqliteState.open(folder / "state.db")
        ledger = await Ledger.open(state, folder / "instances")
        writer = Writer(WriterSettings(), LocalFiles(folder / "lake"), ledger)

        async def keep(result: ChunkResult) -> None:
            await writer.add(result, [None] * len(result.matches))

        pool = Pool(PoolSettings(workers=children), keep)
        await pool.start(real.code_spec(rules))
        await _run(pool, writer, ledger, [objects[0]] * children, "warm")  # children's first pages and caches
        lags: list[float] = []
        ticker = asyncio.create_task(_tick(lags))
        cpu, wall = time.process_time(), time.perf_counter()
        work = [objects[number % len(objects)] for number in range(OBJECTS)]
        await _run(pool, writer, ledger, work, "real")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        ticker.cancel()
        await pool.close()
        await writer.close()
        await ledger.close()
        await state.close()
    events = OBJECTS * RECORDS_PER_OBJECT
    lags.sort()
    p50, p99, worst = (lags[min(len(lags) - 1, int(len(lags) * share))] * 1e3 for share in (0.5, 0.99, 1.0))
    name = f"{children} child{'ren' if children > 1 else ''}"
    lag = f"{p50:10.1f} ms {p99:6.1f} ms {worst:6.1f} ms"
    print(f"{name:12} {cpu / events * 1e6:13.1f} {lag}   {events / wall:,.0f}")


async def _run(pool: Pool, writer: Writer, ledger: Ledger, objects: list[bytes], name: str) -> None:
    async def one(number: int, data: bytes) -> Any:
        identity = f"s3://bench/{name}-{number}#e"
        await ledger.claim(identity, source=real.SOURCE, url=identity)
        done = await pool.run(real.object_task(number + 1, identity), lambda: _pieces(data))
        return writer.finish(identity, done)

    commits = await asyncio.gather(*(one(number, data) for number, data in enumerate(objects)))
    writer.request_commit("bench")
    await asyncio.gather(*commits)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for piece in real.pieces(data):
        yield piece


async def _tick(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK_SECS
        await asyncio.sleep(TICK_SECS)
        lags.append(time.perf_counter() - due)
