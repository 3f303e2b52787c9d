"""Batches: when they are committed, who waits for them, what is given up and what is not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ingestd.errors import Retryable
from ingestd.lake.files import Disk, LocalFiles
from ingestd.lake.pending import TOLD_AT_ONCE
from ingestd.lake.query import query
from ingestd.model import ChunkResult
from tests.lake.conftest import LOG_TYPE, House, chunk, claim, done


def ids(identity: str, first: int, end: int) -> list[str]:
    """Event ids of some ordinals."""
    return [f"{identity}/{ordinal}" for ordinal in range(first, end)]


async def test_an_object_is_done_when_all_its_chunks_are_committed(house: House) -> None:
    """The future of `finish` resolves with the commit; the ledger knows the object from then on."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    await writer.add(chunk(("a", 3, 5)), [])
    committed = writer.finish("a", done(5))
    assert not committed.done()
    writer.request_commit("idle")
    await committed
    assert (await ledger.claim("a", source="s", url="a")).status == "done"
    await writer.flush()
    assert house.ids() == ids("a", 0, 5)


async def test_chunks_of_many_objects_become_one_file(house: House) -> None:
    """A hundred small objects of one day do not become a hundred files."""
    ledger, writer = await house.daemon()
    names = [f"small-{number:03d}" for number in range(100)]
    await claim(ledger, *names)
    for name in names:
        await writer.add(chunk((name, 0, 1)), [])
        writer.finish(name, done(1))
    await writer.flush()
    assert len(list(house.lake.glob("events/**/*.parquet"))) == 1
    assert len(house.ids()) == 100


async def test_those_who_wait_for_a_large_batch_are_told_in_turns(house: House) -> None:
    """Thousands that go on in one turn of the event loop would keep leases and all else waiting."""
    ledger, writer = await house.daemon()
    names = [f"small-{number:03d}" for number in range(3 * TOLD_AT_ONCE)]
    await claim(ledger, *names)
    told: list[int] = []
    turn = 0
    for name in names:
        await writer.add(chunk((name, 0, 1)), [])
        writer.finish(name, done(1)).add_done_callback(lambda _: told.append(turn))
    writer.request_commit("idle")
    while len(told) < len(names):
        await asyncio.sleep(0)
        turn += 1
    assert max(Counter(told).values()) <= TOLD_AT_ONCE


async def test_an_object_without_rows_is_done_too(house: House) -> None:
    """An empty file is acknowledged like any other."""
    ledger, writer = await house.daemon()
    await claim(ledger, "empty")
    committed = writer.finish("empty", done(0))
    await writer.flush()
    await committed
    assert (await ledger.claim("empty", source="s", url="empty")).status == "done"
    assert not list(house.lake.glob("events/**/*.parquet"))


async def test_a_batch_is_due_after_rotate_secs(house: House) -> None:
    """Nobody has to ask."""
    ledger, writer = await house.daemon(rotate_secs=0.05)
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 1)), [])
    await asyncio.wait_for(writer.finish("a", done(1)), 10)


@pytest.mark.parametrize("settings", [{"rotate_rows": 3}, {"rotate_bytes": 1_000}])
async def test_a_full_batch_is_due_at_once(house: House, settings: dict[str, int]) -> None:
    """Rows and bytes are bounded."""
    ledger, writer = await house.daemon(**settings)
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    await asyncio.wait_for(writer.finish("a", done(3)), 10)
    await writer.flush()
    assert house.ids() == ids("a", 0, 3)


async def test_adding_waits_while_one_batch_is_written_and_the_next_is_full(house: House) -> None:
    """Memory is bounded by two batches, whatever comes in."""
    disk = HeldDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon(rotate_rows=2)
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 2)), [])
    await disk.reached()
    await writer.add(chunk(("a", 2, 4)), [])
    third = asyncio.create_task(writer.add(chunk(("a", 4, 6)), []))
    await asyncio.sleep(0)
    assert not third.done()
    disk.release()
    await asyncio.wait_for(third, 10)
    writer.finish("a", done(6))
    await writer.flush()
    assert house.ids() == ids("a", 0, 6)


async def test_an_alert_id_stands_in_each_match_row(house: House) -> None:
    """The parent adds it, as the child cannot know it."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 2), matching=True), ["alert-1", None])
    writer.finish("a", done(2))
    await writer.flush()
    rows = query("select p_row_id, p_alert_id, p_rule_id from rule_matches order by p_row_id", house.lake).rows
    assert [row[1:] for row in rows] == [("alert-1", "Some.Rule"), (None, "Some.Rule")]


async def test_a_refused_object_does_not_hold_up_the_others(house: House) -> None:
    """An object whose claim was lost is dropped, with its rows in shared chunks, and will be read again."""
    ledger, writer = await house.daemon()
    await claim(ledger, "mine", "lost")
    await writer.add(chunk(("mine", 0, 2), ("lost", 0, 2), matching=True), [None] * 4)
    mine, lost = writer.finish("mine", done(2)), writer.finish("lost", done(2))
    await ledger.release("lost")
    await writer.flush()
    await mine
    with pytest.raises(Retryable, match="claimed"):
        await lost
    assert house.ids() == ids("mine", 0, 2)
    assert len(house.ids("rule_matches", "p_row_id")) == 2


async def test_an_object_that_was_dropped_fails_at_its_end(house: House) -> None:
    """Rows were dropped before the object was read to its end: `finish` says so, once."""
    ledger, writer = await house.daemon()
    await claim(ledger, "lost")
    await writer.add(chunk(("lost", 0, 2)), [])
    await ledger.release("lost")
    await writer.flush()
    with pytest.raises(Retryable):
        await writer.finish("lost", done(4))
    await claim(ledger, "lost")
    await writer.add(chunk(("lost", 0, 4)), [])
    again = writer.finish("lost", done(4))
    await writer.flush()
    await again
    assert house.ids() == ids("lost", 0, 4)


async def test_a_batch_that_another_daemon_aborted_is_read_again(house: House) -> None:
    """The loser of the compare-and-set has published nothing."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 2)), [])
    committed = writer.finish("a", done(2))
    prepare = ledger.prepare

    async def prepare_and_lose(plan: object) -> None:
        await prepare(plan)  # type: ignore[arg-type]
        await ledger.abort(plan.batch_id)  # type: ignore[attr-defined]

    ledger.prepare = prepare_and_lose  # type: ignore[method-assign]
    await writer.flush()
    with pytest.raises(Retryable):
        await committed
    assert house.ids() == []
    assert house.staged() == []


async def test_leaving_an_object_commits_what_was_read(house: House) -> None:
    """Its claim may be given up afterwards; the next reader goes on after it."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    await writer.leave("a")
    await ledger.release("a")
    assert (await ledger.claim("a", source="s", url="a")).skip == ((0, 3),)


async def test_leaving_an_object_drops_its_rows_when_the_lake_is_stuck(house: House) -> None:
    """A full disk must not keep a claim."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon()
    await claim(ledger, "a", "b")
    await writer.add(chunk(("a", 0, 3)), [])
    writer.finish("a", done(3))
    writer.request_commit("idle")
    await disk.refused()
    await writer.add(chunk(("b", 0, 3)), [])
    await asyncio.wait_for(writer.leave("b"), 10)
    await ledger.release("b")
    disk.full = False
    await writer.flush()
    assert house.ids() == ids("a", 0, 3)


async def test_a_full_disk_delays_and_loses_nothing(house: House) -> None:
    """The batch is tried until there is room."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    committed = writer.finish("a", done(3))
    writer.request_commit("idle")
    await disk.refused()
    assert not committed.done()
    disk.full = False
    await asyncio.wait_for(committed, 10)
    await writer.flush()
    assert house.ids() == ids("a", 0, 3)


@pytest.mark.parametrize("damage", ["ipc", "day"])
async def test_a_chunk_that_cannot_be_written_becomes_a_reject(house: House, damage: str) -> None:
    """It is found among its neighbours, which are written; its object counts as read."""
    ledger, writer = await house.daemon()
    names = [f"o{number}" for number in range(5)]
    await claim(ledger, *names)
    for name in names:
        result = chunk((name, 0, 2))
        await writer.add(_damaged(result, damage) if name == "o3" else result, [])
        writer.finish(name, done(2))
    await writer.flush()
    assert house.ids() == sorted(one for name in names if name != "o3" for one in ids(name, 0, 2))
    rows = list(query("select identity, reason, detail from rejects", house.lake).rows)
    assert [(identity, reason) for identity, reason, _ in rows] == [("o3", "lake_unwritable")]
    assert "records 0 to 1" in rows[0][2]
    assert (await ledger.claim("o3", source="s", url="o3")).status == "done"


def _damaged(result: ChunkResult, damage: str) -> ChunkResult:
    (table,) = result.tables
    change = {"ipc": table.ipc[:100]} if damage == "ipc" else {"day": "../../etc"}
    return msgspec.structs.replace(result, tables=(msgspec.structs.replace(table, **change),))


async def test_closing_flushes(house: House) -> None:
    """Nothing that was added is left behind, and nothing is taken in any more."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    await writer.close()
    assert house.ids() == ids("a", 0, 3)
    with pytest.raises(Retryable):
        await writer.add(chunk(("a", 3, 4)), [])


async def test_closing_does_not_wait_for_a_full_disk(house: House) -> None:
    """The daemon ends; what was not committed will be read again."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    committed = writer.finish("a", done(3))
    await asyncio.wait_for(writer.close(), 10)
    with pytest.raises(Retryable):
        await committed


async def test_abandoning_tells_who_waits(house: House) -> None:
    """A drain past its deadline leaves nobody hanging."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 3)), [])
    committed = writer.finish("a", done(3))
    await writer.abandon()
    with pytest.raises(Retryable):
        await committed


async def test_an_object_lost_between_its_batches_is_read_again_once(house: House) -> None:
    """The claims were lost while the daemon slept: rows of the first reading do not stand in the way of the next."""
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 2)), [])
    await house.lose_claims(ledger)
    await writer.flush()
    await writer.add(chunk(("a", 2, 4)), [])
    with pytest.raises(Retryable, match="claim"):
        await writer.finish("a", done(4))
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 4)), [])
    again = writer.finish("a", done(4))
    await writer.flush()
    await again
    assert house.ids() == ids("a", 0, 4)


async def test_giving_up_an_object_makes_room(house: House) -> None:
    """Rows that were dropped do not count as buffered: who waits for room goes on while the lake is stuck."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon(rotate_rows=2)
    await claim(ledger, "a", "b", "c")
    await writer.add(chunk(("a", 0, 2)), [])
    await disk.refused()
    await writer.add(chunk(("b", 0, 2)), [])
    waiting = asyncio.create_task(writer.add(chunk(("c", 0, 2)), []))
    await asyncio.sleep(0)
    await asyncio.wait_for(writer.leave("b"), 10)
    await asyncio.wait_for(waiting, 10)
    await ledger.release("b")
    disk.full = False
    await writer.flush()
    assert house.ids() == ids("a", 0, 2) + ids("c", 0, 2)


@pytest.mark.parametrize("how", ["close", "abandon"])
async def test_who_waits_for_room_is_told_of_the_end(house: House, how: str) -> None:
    """The lake is full for ever and so are the buffers: closing ends within its deadline, and with it every wait."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon(rotate_rows=2)
    await claim(ledger, "a", "b", "c")
    await writer.add(chunk(("a", 0, 2)), [])
    await disk.refused()
    await writer.add(chunk(("b", 0, 2)), [])
    waiting = asyncio.create_task(writer.add(chunk(("c", 0, 2)), []))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await (writer.close(0.1) if how == "close" else writer.abandon())
        with pytest.raises(Retryable):
            await waiting


async def test_a_batch_that_could_not_be_published_is_published_later(house: House) -> None:
    """It is committed: its object is done, and `recover` brings its rows into view without a restart."""
    ledger, writer = await house.daemon()
    published = ledger.published

    async def broken(batch_id: str) -> None:
        raise ZeroDivisionError(batch_id)

    ledger.published = broken  # type: ignore[method-assign]
    for identity in ("a", "b"):
        await claim(ledger, identity)
        await writer.add(chunk((identity, 0, 2)), [])
        committed = writer.finish(identity, done(2))
        await writer.flush()
        await committed
    assert len(await ledger.unfinished()) == 2
    first, *_ = await ledger.unfinished()

    async def broken_for_one(batch_id: str) -> None:
        if batch_id == first:
            raise ZeroDivisionError(batch_id)
        await published(batch_id)

    ledger.published = broken_for_one  # type: ignore[method-assign]
    await writer.recover()
    assert await ledger.unfinished() == {first}
    ledger.published = published  # type: ignore[method-assign]
    await writer.recover()
    assert await ledger.unfinished() == set()
    assert house.ids() == ids("a", 0, 2) + ids("b", 0, 2)
    assert house.staged() == []


async def test_health_says_that_the_lake_cannot_be_written(house: House) -> None:
    """Failing, with the reason, while a batch is tried again; well after its commit."""
    disk = FullDisk()
    house.files = lambda: LocalFiles(house.lake, disk)
    ledger, writer = await house.daemon()
    await claim(ledger, "a")
    await writer.add(chunk(("a", 0, 2)), [])
    writer.request_commit("idle")
    await disk.refused()
    await asyncio.wait_for(_until(lambda: house.health.state == "recoverable_error"), 10)
    assert "No space left" in house.health.last_error
    disk.full = False
    await writer.flush()
    assert house.health.state == "ok"


async def test_columns_of_two_generations_go_to_two_files(house: House) -> None:
    """A reload that changed a schema may fall into the middle of a batch."""
    from ingestd.lake.batch import BatchBuilder
    from ingestd.model import Column, Span
    from tests.lake.conftest import COLUMNS, event

    ledger, writer = await house.daemon()
    await claim(ledger, "a", "b")
    builder = BatchBuilder(lambda _: (*COLUMNS, Column(name="added", kind="string")))
    builder.add_event(event("b", 0) | {"added": "new"})
    await writer.add(chunk(("a", 0, 1)), [])
    new = ChunkResult(spans=(Span(task=1, identity="b", first=0, end=1),), tables=builder.take())
    await writer.add(new, [])
    await writer.flush()
    assert len(list(house.lake.glob("events/**/*.parquet"))) == 2
    rows = query(f'select eventID, added from "{LOG_TYPE}" order by all', house.lake).rows
    assert list(rows) == [("a/0", None), ("b/0", "new")]


class HeldDisk(Disk):
    """A disk whose first write waits until it is released."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    async def reached(self) -> None:
        await asyncio.wait_for(self._reached.wait(), 10)

    def release(self) -> None:
        self._released.set()

    def write_file(self, path: Path, data: memoryview) -> None:
        self._loop.call_soon_threadsafe(self._reached.set)
        asyncio.run_coroutine_threadsafe(self._released.wait(), self._loop).result(10)
        super().write_file(path, data)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the thread that writes tells nobody else
        await asyncio.sleep(0.005)


class FullDisk(Disk):
    """A disk without room until `full` is cleared."""

    def __init__(self) -> None:
        self.full = True
        self._loop = asyncio.get_running_loop()
        self._refused = asyncio.Event()

    async def refused(self) -> None:
        await asyncio.wait_for(self._refused.wait(), 10)

    def write_file(self, path: Path, data: memoryview) -> None:
        if self.full:
            self._loop.call_soon_threadsafe(self._refused.set)
            raise OSError(28, "No space left on device", str(path))
        super().write_file(path, data)
