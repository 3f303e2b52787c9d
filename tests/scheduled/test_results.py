"""Results of work by the clock, as messages of a source of the daemon's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingestd.errors import Retryable
from ingestd.model import ObjectRef
from ingestd.scheduled.results import ResultSource, ResultStore
from ingestd.state import instances, schedules
from ingestd.state.base import Transaction
from ingestd.state.sqlite import SqliteState

RESULT = schedules.Result(id="query/Q@1", origin={"kind": "query", "name": "Q", "time": "t"}, body=b"rows")


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    """Of two daemons, whose epochs are 1 and 2."""
    opened = SqliteState.open(tmp_path / "state.db")
    for name in ("a", "b"):
        await opened.transact(lambda tx, name=name: instances.register(tx, name, 0.0, 1e12))  # type: ignore[misc]
    yield opened
    await opened.close()


async def leave(state: SqliteState) -> None:
    """Finish a turn with the result."""
    await state.transact(lambda tx: schedules.enter(tx, "query", "Q", 0.0, 0.0, no_later=0.0))
    [standing] = await state.read(lambda tx: schedules.standings(tx, 0.0))
    turn = await state.transact(lambda tx: schedules.take(tx, standing, 1, 0.0, 1.0))
    assert turn is not None
    await state.transact(lambda tx: schedules.finish(tx, turn, due_at=1e9, position=0, result=RESULT, now=0.0))


async def test_a_result_is_handed_to_one_daemon_until_its_lease_is_over(state: SqliteState) -> None:
    """And to nobody once it is worked off; its bytes are there until then."""
    now = 100.0
    mine, theirs = (ResultSource(state, lambda epoch=epoch: epoch, lambda: now) for epoch in (1, 2))  # type: ignore[misc]
    await leave(state)
    [held] = await mine.receive(10, 0.0)
    assert await theirs.receive(10, 0.0) == []
    now += held.lease_until
    [again] = await theirs.receive(10, 0.0)
    assert again.message_id == held.message_id == RESULT.id
    ref = ObjectRef(store="result", bucket="schedule", key=RESULT.id)
    async with await ResultStore(state).open(ref) as opened:
        assert [piece async for piece in opened.chunks()] == [b"rows"]
    await theirs.ack([again])
    now += held.lease_until
    assert await mine.receive(10, 0.0) == []
    with pytest.raises(Retryable, match="worked off by another daemon"):
        await ResultStore(state).open(ref)


async def test_a_result_that_comes_while_one_looks_is_not_waited_for(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes whoever has just found nothing."""
    source = ResultSource(state, lambda: 1, lambda: 100.0)
    read = state.read

    async def read_too_early(work: Callable[[Transaction], Any]) -> Any:
        monkeypatch.setattr(state, "read", read)
        found = await state.read(work)
        await leave(state)
        source.wake()
        return found

    monkeypatch.setattr(state, "read", read_too_early)
    async with asyncio.timeout(2.0):  # less than the time after which it looks anyway
        [held] = await source.receive(10, 60.0)
    assert held.message_id == RESULT.id
