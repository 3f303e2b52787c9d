"""What every state promises (`ingestd/state/base.py`), asked of each implementation in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from ingestd.errors import Permanent, Retryable
from ingestd.state.base import Row, State, Transaction
from ingestd.state.memory import MemoryState
from ingestd.state.sqlite import SqliteState

IMPLEMENTATIONS: dict[str, Callable[[Path], State]] = {
    "sqlite": lambda folder: SqliteState.open(folder / "state.db"),
    "memory": lambda folder: MemoryState(),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[State]:
    """An open state with a small table of its own."""
    state: State = IMPLEMENTATIONS[request.param](tmp_path)
    await state.transact(lambda tx: tx.execute("CREATE TABLE pairs (name TEXT PRIMARY KEY, value BIGINT)"))
    yield state
    await state.close()


def put(tx: Transaction, name: str, value: int) -> list[Row]:
    """Write a row."""
    return tx.execute("INSERT INTO pairs VALUES (:name, :value)", {"name": name, "value": value})


def pairs(tx: Transaction) -> list[Row]:
    """All rows."""
    return tx.execute("SELECT name, value FROM pairs ORDER BY name")


async def test_answers_the_rows_of_a_query_and_of_returning(state: State) -> None:
    """SELECT and RETURNING answer rows, other statements an empty list."""

    def work(tx: Transaction) -> tuple[list[Row], list[Row], list[Row]]:
        nothing = put(tx, "a", 1)
        return nothing, tx.execute("UPDATE pairs SET value = 2 RETURNING value"), pairs(tx)

    assert await state.transact(work) == ([], [(2,)], [("a", 2)])


async def test_a_transaction_is_all_or_nothing(state: State) -> None:
    """When the work raises, nothing of it is kept and its caller gets the very exception."""
    error = Permanent("no", reason="test")

    def work(tx: Transaction) -> None:
        put(tx, "a", 1)
        raise error

    with pytest.raises(Permanent) as raised:
        await state.transact(work)
    assert raised.value is error
    assert await state.read(pairs) == []


async def test_one_that_raises_leaves_its_neighbours_alone(state: State) -> None:
    """Calls that share a commit fail alone."""

    def spoil(tx: Transaction) -> None:
        put(tx, "spoiled", 0)
        raise ValueError

    works = [spoil if n % 3 == 0 else partial(put, name=f"{n:02}", value=n) for n in range(30)]
    outcomes = await asyncio.gather(*(state.transact(work) for work in works), return_exceptions=True)
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [n % 3 == 0 for n in range(30)]
    assert await state.read(pairs) == [(f"{n:02}", n) for n in range(30) if n % 3]


async def test_a_mistake_in_sql_fails_its_caller_only(state: State) -> None:
    """A statement that the store refuses raises at its caller; the state goes on."""
    outcomes = await asyncio.gather(
        state.transact(lambda tx: tx.execute("SELEKT")),
        state.transact(lambda tx: put(tx, "a", 1)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Exception)
    assert await state.read(pairs) == [("a", 1)]


async def test_a_conflict_undoes_the_whole_call(state: State) -> None:
    """A violated constraint raises, and what the same call did before it is undone."""

    def work(tx: Transaction) -> None:
        put(tx, "b", 1)
        put(tx, "a", 2)

    await state.transact(lambda tx: put(tx, "a", 1))
    with pytest.raises(Exception, match=r"(?i)unique"):
        await state.transact(work)
    assert await state.read(pairs) == [("a", 1)]


async def test_a_read_sees_what_was_committed_before_it(state: State) -> None:
    """After `transact` has returned, `read` sees its effect."""
    for n in range(20):
        await state.transact(partial(put, name=f"{n:02}", value=n))
        assert len(await state.read(pairs)) == n + 1


async def test_increments_of_many_callers_are_all_counted(state: State) -> None:
    """Transactions do not lose each other's updates."""
    await state.transact(lambda tx: put(tx, "n", 0))

    def increment(tx: Transaction) -> None:
        value = tx.execute("SELECT value FROM pairs WHERE name = 'n'")[0][0]
        tx.execute("UPDATE pairs SET value = :value WHERE name = 'n'", {"value": value + 1})

    await asyncio.gather(*(state.transact(increment) for _ in range(200)))
    assert await state.read(pairs) == [("n", 200)]


async def test_executemany_takes_a_generator(state: State) -> None:
    """Many sets of parameters are run without being held at once."""
    sql = "INSERT INTO pairs VALUES (:name, :value)"
    await state.transact(lambda tx: tx.executemany(sql, ({"name": f"{n:03}", "value": n} for n in range(500))))
    assert len(await state.read(pairs)) == 500


async def test_keeps_text_bytes_numbers_and_null(state: State) -> None:
    """Values come back with their types."""
    await state.transact(lambda tx: tx.execute("CREATE TABLE kinds (t TEXT, b BLOB, i BIGINT, d DOUBLE PRECISION)"))
    values = {"t": "Grüße\x00 ☃", "b": bytes(range(256)), "i": 2**62, "d": 1700000000.123456}
    sql = "INSERT INTO kinds VALUES (:t, :b, :i, :d), (NULL, NULL, NULL, NULL)"
    await state.transact(lambda tx: tx.execute(sql, values))
    rows = await state.read(lambda tx: tx.execute("SELECT t, b, i, d FROM kinds"))
    assert rows == [tuple(values.values()), (None, None, None, None)]


async def test_close_finishes_what_waits(state: State) -> None:
    """Calls made before `close` are answered, later ones are refused, and `close` may be repeated."""
    waiting = [asyncio.ensure_future(state.transact(partial(put, name=str(n), value=n))) for n in range(50)]
    await asyncio.sleep(0)
    await state.close()
    assert await asyncio.gather(*waiting) == [[]] * 50
    with pytest.raises(Retryable):
        await state.transact(pairs)
    with pytest.raises(Retryable):
        await state.read(pairs)
    await state.close()


async def test_a_cancelled_caller_disturbs_nobody(state: State) -> None:
    """The others of a group get their answers when one caller has gone."""
    calls = [asyncio.ensure_future(state.transact(partial(put, name=str(n), value=n))) for n in range(20)]
    await asyncio.sleep(0)
    calls[3].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert [outcome for n, outcome in enumerate(outcomes) if n != 3] == [[]] * 19
