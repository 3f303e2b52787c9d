"""The state in an SQLite file: opening it, sharing it, and what happens when the disk or the file fails."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.state import sqlite, sqlite_file
from ingestd.state.base import Row, Transaction
from ingestd.state.memory import MemoryState
from ingestd.state.schema import STEPS
from ingestd.state.sqlite import SqliteState

MAKE = "CREATE TABLE notes (note BLOB)"


def add(tx: Transaction, note: object = "x") -> list[Row]:
    """Write a row."""
    return tx.execute("INSERT INTO notes VALUES (:note)", {"note": note})


def count(tx: Transaction) -> int:
    """Rows there are."""
    return int(tx.execute("SELECT count(*) FROM notes")[0][0])


async def test_the_file_is_private_and_survives_reopening(tmp_path: Path) -> None:
    """Only the owner may read the database; what was committed is there after a restart."""
    path = tmp_path / "state.db"
    state = SqliteState.open(path)
    await state.transact(lambda tx: (tx.execute(MAKE), add(tx)))
    files = [path, tmp_path / "state.db-wal", tmp_path / "state.db-shm"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await state.close()
    state = SqliteState.open(path)
    assert await state.read(count) == 1
    await state.close()


async def test_commits_are_full_synchronous_in_wal_mode(tmp_path: Path) -> None:
    """Durable against power loss means: write-ahead log, and a sync at each commit."""
    state = SqliteState.open(tmp_path / "state.db")
    pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint")
    assert await state.transact(lambda tx: [tx.execute(f"PRAGMA {name}")[0][0] for name in pragmas]) == ["wal", 2, 0]
    await state.close()


def test_many_daemons_may_open_a_new_state_at_once(tmp_path: Path) -> None:
    """The tables are made once, whoever comes first."""
    with ThreadPoolExecutor(8) as threads:
        connections = list(threads.map(lambda _: sqlite_file.open_database(tmp_path / "state.db"), range(8)))
    versions = {c.execute("SELECT version FROM schema_version").fetchall()[0][0] for c in connections}
    assert versions == {len(STEPS)}
    for connection in connections:
        connection.close()


def test_only_the_steps_not_seen_are_applied(tmp_path: Path) -> None:
    """An older database is brought up to date; what it holds stays."""
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    steps = (("CREATE TABLE one (a)", "INSERT INTO one VALUES (7)"), ("ALTER TABLE one ADD COLUMN b",))
    sqlite_file.migrate(connection, "state.db", steps[:1])
    sqlite_file.migrate(connection, "state.db", steps)
    sqlite_file.migrate(connection, "state.db", steps)
    assert connection.execute("SELECT a, b FROM one").fetchall() == [(7, None)]
    connection.close()


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """Steps are applied all or none."""
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        sqlite_file.migrate(connection, "state.db", (("CREATE TABLE one (a)",), ("CREATE NONSENSE",)))
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_a_newer_state_is_refused_with_advice(tmp_path: Path) -> None:
    """A database of a later version is not touched; the error names file and versions."""
    path = tmp_path / "state.db"
    connection = sqlite_file.open_database(path)
    connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(ConfigError, match=r"state\.db: the state has schema version 99; .*run the newer ingestd"):
        SqliteState.open(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"not a database, but long enough " * 10), "not an SQLite database"),
        (lambda path: path.mkdir(), "cannot be opened"),
        (lambda path: path.symlink_to(path.parent / "nowhere" / "state.db"), "cannot be opened"),
    ],
)
def test_a_path_that_cannot_be_a_state_is_a_config_error(tmp_path: Path, make: object, message: str) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "state.db"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=f"state.db: .*{message}"):
        SqliteState.open(path)


async def test_waiting_calls_share_one_commit(tmp_path: Path) -> None:
    """While a commit is on its way, what arrives is grouped: far fewer commits than calls."""
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: tx.execute(MAKE))
    begun: list[str] = []
    state._writer._connection.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
    await asyncio.gather(*(state.transact(add) for _ in range(400)))
    assert await state.read(count) == 400
    assert len(begun) < 20
    await state.close()


async def test_a_long_group_is_cut_so_that_the_first_need_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the calls of a group take longer than the limit, the rest goes into a further commit; all are answered."""
    monkeypatch.setattr(sqlite, "GROUP_SECS", -1.0)
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: tx.execute(MAKE))
    assert await asyncio.gather(*(state.transact(add) for _ in range(50))) == [[]] * 50
    assert await state.read(count) == 50
    await state.close()


async def test_a_full_disk_is_retryable_and_loses_only_what_raised(tmp_path: Path) -> None:
    """All calls that shared the failed transaction are told; once there is room, everything goes on."""
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: (tx.execute(MAKE), add(tx)))
    pages = await state.transact(lambda tx: tx.execute("PRAGMA page_count")[0][0])
    await state.transact(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages}"))
    outcomes = await asyncio.gather(
        state.transact(lambda tx: add(tx, bytes(100_000))), state.transact(add), return_exceptions=True
    )
    assert isinstance(outcomes[0], Retryable)
    assert "disk is full" in str(outcomes[0])
    told = sum(isinstance(outcome, Retryable) for outcome in outcomes)
    assert await state.read(count) == 1 + 2 - told
    await state.transact(lambda tx: tx.execute("PRAGMA max_page_count = 1000000"))
    await state.transact(lambda tx: add(tx, bytes(100_000)))
    assert await state.read(count) == 2 + 2 - told
    await state.close()


async def test_a_lock_that_stays_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that does not let go is named; when it has, the state works again."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECS", 0.05)
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: tx.execute(MAKE))
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="another process holds it locked"):
        await state.transact(add)
    assert await state.read(count) == 0
    other.execute("ROLLBACK")
    await state.transact(add)
    assert await state.read(count) == 1
    other.close()
    await state.close()


async def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    """A page of rubbish is a permanent error with advice, not a wrong answer."""
    path = tmp_path / "state.db"
    state = SqliteState.open(path)
    await state.transact(lambda tx: (tx.execute(MAKE), *(add(tx, bytes(3000)) for _ in range(50))))
    await state.close()
    content = bytearray(path.read_bytes())
    content[-60 * 4096 :] = b"\xa5" * (60 * 4096)
    path.write_bytes(content)
    state = SqliteState.open(path)
    with pytest.raises(Permanent, match="the database is damaged") as raised:
        await state.read(lambda tx: tx.execute("SELECT sum(length(note)) FROM notes"))
    assert raised.value.reason == "state_damaged"
    await state.close()


async def test_the_write_ahead_log_is_moved_into_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log does not grow with the number of commits."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_COMMITS", 5)
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: tx.execute(MAKE))
    for _ in range(60):
        await state.transact(lambda tx: add(tx, bytes(10_000)))
    assert (tmp_path / "state.db-wal").stat().st_size < 500_000
    await state.close()


async def test_two_states_on_one_file_see_each_other(tmp_path: Path) -> None:
    """Daemons that share the file lose none of each other's writes."""
    one, other = SqliteState.open(tmp_path / "state.db"), SqliteState.open(tmp_path / "state.db")
    await one.transact(lambda tx: tx.execute(MAKE))
    await asyncio.gather(*((one, other)[n % 2].transact(add) for n in range(300)))
    assert await one.read(count) == await other.read(count) == 300
    await one.close()
    await other.close()


async def test_the_knobs_of_the_memory_state() -> None:
    """Before the commit nothing is kept, after it everything is, and both times the caller gets an error."""
    state = MemoryState()
    await state.transact(lambda tx: tx.execute(MAKE))
    state.fail_before_commit = 1
    with pytest.raises(Retryable):
        await state.transact(add)
    assert await state.read(count) == 0
    state.fail_after_commit = 1
    with pytest.raises(Retryable):
        await state.transact(add)
    assert await state.read(count) == 1
    await state.transact(add)
    assert await state.read(count) == 2
    await state.close()


async def test_a_connection_that_cannot_roll_back_fails_who_waits_and_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a thread that has ended."""
    state = SqliteState.open(tmp_path / "state.db")

    def lost(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(state._writer, "_run_calls", lost)
    monkeypatch.setattr(state._writer, "_fail", lost)
    answers = await asyncio.gather(*(state.transact(lambda tx: None) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Retryable] * 3
    with pytest.raises(Retryable, match="closed"):
        await state.transact(lambda tx: None)
    await state.close()


async def test_a_state_that_became_read_only_is_tried_again(tmp_path: Path) -> None:
    """An operator remounts the disk; nothing is given up meanwhile."""
    state = SqliteState.open(tmp_path / "state.db")
    await state.transact(lambda tx: tx.execute("PRAGMA query_only = ON"))
    with pytest.raises(Retryable, match="read-only: make it writable"):
        await state.transact(lambda tx: tx.execute("DELETE FROM files"))
    await state.close()
