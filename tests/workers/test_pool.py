"""The pool as its users see it: objects in, results out."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import msgspec
import pytest

from ingestd.errors import ConfigError, Permanent, Retryable
from ingestd.model import ChunkResult, Route
from ingestd.workers import worker
from ingestd.workers.pool import Pool
from ingestd.workers.settings import PoolSettings
from tests.workers import fakes
from tests.workers.conftest import QUICK, House, lines, pieces, record, row_ids_of, run_all, until


async def test_every_record_comes_back_once(house: House) -> None:
    """Rows, matches, counts and the end of an object agree with what went in."""
    house.every("Rule.Tens", 10)
    await house.start()
    sizes = {"small": 3, "empty": 0, "large": 5_000, "one": 1}
    done = await run_all(house, {identity: lines(size) for identity, size in sizes.items()})
    house.assert_whole(sizes)
    assert [end.records for end in done] == list(sizes.values())
    assert {end.framing for end in done if end.records} == {"lines"}
    assert house.matches("Rule.Tens") == row_ids_of(sizes, 10)
    counted = {count.outcome: count.records for result in house.results for count in result.counts}
    assert set(counted) == {"ok"}
    assert sum(count.records for result in house.results for count in result.counts) == sum(sizes.values())


async def test_result_comes_before_the_end_of_its_object(house: House) -> None:
    """When `run` returns, every result with rows of the object has been through `on_result` to its end."""
    house.every("Rule.Tens", 10)
    finished = 0

    async def slowly(result: ChunkResult) -> None:
        nonlocal finished
        await asyncio.sleep(0)
        finished += sum(span.end - span.first for span in result.spans)

    house.pool = Pool(QUICK, slowly)
    await house.pool.start(house.spec)
    await house.run("object", lines(3_000))
    assert finished == 3_000


async def test_small_objects_share_batches(house: House) -> None:
    """A thousand objects of one record each come back in far fewer batches."""
    house.every("Rule.All", 1)
    await house.start()
    objects = {f"object {n}": record(n) for n in range(1_000)}
    await run_all(house, objects)
    house.assert_whole(dict.fromkeys(objects, 1))
    assert len(house.results) < 200


async def test_large_object_comes_back_in_bounded_results(house: House) -> None:
    """A result is returned when it is large enough, long before the object's end."""
    house.every("Rule.None", 1_000_000)
    await house.start()
    await house.run("object", lines(20_000))
    largest = max(batch.rows for result in house.results for batch in result.tables)
    assert largest < 2 * QUICK.flush_rows
    house.assert_whole({"object": 20_000})


async def test_committed_ordinals_are_counted_and_not_returned(house: House) -> None:
    """Ordinals in `skip` take their numbers, and nothing else comes of them."""
    house.every("Rule.All", 1)
    await house.start()
    done = await house.run("object", lines(2_000), skip=((0, 700), (1_000, 1_001), (1_500, 2_000)))
    assert done.records == 2_000
    spans = sorted((span.first, span.end) for result in house.results for span in result.spans)
    covered = [n for first, end in spans for n in range(first, end)]
    assert covered == [*range(700, 1_000), *range(1_001, 1_500)]
    assert len(house.matches("Rule.All")) == len(covered)
    outcomes = {c.outcome: c.records for result in house.results for c in result.counts if c.outcome == "skipped"}
    assert sum(outcomes.values()) > 0


async def test_fatal_records_and_calls_can_be_left_out(house: House) -> None:
    """A record in `skip_records` becomes a reject; a call in `skip_calls` an error of that rule."""
    house.every("Rule.All", 1)
    house.every("Rule.Too", 1)
    await house.start()
    await house.run("object", lines(100), skip_records=(7,), skip_calls=((3, "Rule.All"), (5, "Rule.Unknown")))
    house.assert_whole({"object": 100})
    assert [row["ordinal"] for row in house.rows("rejects")] == [7]
    assert [error.dedup for error in house.errors("Rule.All")] == ["WorkerKilled"]
    assert len(house.matches("Rule.All")) == 98
    assert len(house.matches("Rule.Too")) == 99


async def test_bad_records_are_rejects_between_good_neighbours(house: House) -> None:
    """What cannot be read becomes a row of `rejects` with its place, its reason and its bytes."""
    house.every("Rule.All", 1)
    await house.start()
    data = b"\n".join((record(0), b'{"id": ', record(2), b'{"other": 1}', record(4)))
    await house.run("object", data, origin={"path": "/some/file"})
    house.assert_whole({"object": 5})
    rejects = sorted(house.rows("rejects"), key=lambda row: row["ordinal"])
    assert [(row["ordinal"], row["payload"]) for row in rejects] == [(1, '{"id": '), (3, '{"other": 1}')]
    assert all(row["reason"] and row["detail"] for row in rejects)
    assert rejects[0]["stream_offset"] == len(record(0)) + 1


async def test_damaged_object_keeps_its_good_prefix_and_stops_the_reading(house: House) -> None:
    """After a fatal fault the parent is told at once, and reads no more of the object."""
    house.every("Rule.All", 1)
    await house.start()
    good = gzip.compress(lines(1_000))
    bad_member = good[:10] + b"\x07"  # a block of a type that deflate does not have
    opened = asyncio.Event()

    async def read() -> AsyncIterator[bytes]:
        yield good + bad_member
        for _ in range(1_000_000):
            await asyncio.sleep(0)
            yield b"\0" * 1_000
        opened.set()

    done = await house.pool.run(house.task("object"), read)
    assert done.failure
    assert not opened.is_set()
    assert done.records == 1_001
    house.assert_whole({"object": 1_001})
    assert [row["ordinal"] for row in house.rows("rejects")] == [1_000]


async def test_error_of_the_reader_is_raised_after_what_was_read_is_handed_on(house: House) -> None:
    """What `read` raises comes out of `run`; what was returned by then is all there is, and the rest can follow."""
    house.every("Rule.All", 1)
    await house.start()
    plain = lines(20_000)

    async def read() -> AsyncIterator[bytes]:
        yield plain[: len(plain) // 2]
        raise Permanent("it is gone", reason="not_found")

    with pytest.raises(Permanent, match="it is gone"):
        await house.pool.run(house.task("object"), read)
    returned = max(span.end for result in house.results for span in result.spans)
    assert 0 < returned < 20_000
    house.assert_whole({"object": returned})
    await house.run("object", plain, skip=((0, returned),))
    house.assert_whole({"object": 20_000})


@pytest.mark.parametrize("records", [0, 1, 100, 30_000])
async def test_objects_that_are_at_hand_need_not_be_opened(house: House, records: int) -> None:
    """A body may be given as it is, however long: nothing, less than a frame, or several."""
    house.every("Rule.All", 1)
    await house.start()
    done = await house.pool.run(house.task("object"), lines(records))
    assert (done.records, done.plain_bytes) == (records, len(lines(records)))
    house.assert_whole({"object": records})
    assert house.pool.stats().in_flight_bytes == 0


async def test_objects_at_hand_run_again_when_their_child_dies(house: House) -> None:
    """As those that are opened: the record that kills costs nobody else a row."""
    house.every("Rule.All", 1)
    house.rule("Rule.Kills", "import os\ndef rule(event):\n    return event['id'] == 7 and os._exit(1)\n")
    await house.start()
    bodies = {"a": lines(20), "b": lines(20, 100), "c": lines(20, 200)}
    await asyncio.gather(*(house.pool.run(house.task(name), body) for name, body in bodies.items()))
    house.assert_whole(dict.fromkeys("abc", 20))
    assert house.matches("Rule.All") == row_ids_of(dict.fromkeys("abc", 20))
    assert len(house.errors("Rule.Kills")) == 1


async def test_an_object_at_hand_may_be_cancelled(house: House) -> None:
    """Whoever waits for the child is let go, and nothing of the object is left in the pool."""
    house.rule("Rule.Sleeps", "import time\ndef rule(event):\n    time.sleep(0.2)\n    return False\n")
    await house.start(msgspec.structs.replace(QUICK, workers=1))
    running = asyncio.create_task(house.pool.run(house.task("object"), lines(1)))
    await asyncio.sleep(0)
    assert house.pool.stats().busy
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await house.pool.run(house.task("next"), lines(1))
    assert house.pool.stats().objects == 0
    assert house.pool.stats().in_flight_bytes == 0


async def test_cancelled_run_leaves_nothing_behind(house: House) -> None:
    """A run that is cancelled lets go of its child, its bytes and its place; others go on."""
    house.every("Rule.All", 1)
    await house.start()
    started = asyncio.Event()

    async def read() -> AsyncIterator[bytes]:
        yield lines(10)
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(house.pool.run(house.task("object"), read))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    before = len(house.results)
    await house.run("next", lines(10))
    assert {span.identity for result in house.results[before:] for span in result.spans} == {"next"}
    assert house.pool.stats().objects == 0
    assert house.pool.stats().in_flight_bytes == 0


async def test_slow_results_hold_back_the_reading(house: House) -> None:
    """While `on_result` waits, only a bounded number of bytes is read from the objects."""
    house.every("Rule.None", 1_000_000)
    gate = asyncio.Event()

    async def wait(_result: ChunkResult) -> None:
        await gate.wait()

    settings = msgspec.structs.replace(QUICK, in_flight_bytes=1 << 20)
    house.pool = Pool(settings, wait)
    await house.pool.start(house.spec)
    read_bytes = 0
    piece = b"".join(record(n, text="x" * 4_000) + b"\n" for n in range(64))

    async def read() -> AsyncIterator[bytes]:
        nonlocal read_bytes
        for _ in range(64):
            read_bytes += len(piece)
            yield piece

    running = asyncio.create_task(house.pool.run(house.task("object"), read))
    seen = -1
    while read_bytes != seen or not read_bytes:  # until it stands still
        seen = read_bytes
        await asyncio.wait([running], timeout=0.5)
    assert read_bytes < 32 * len(piece)
    gate.set()
    assert (await running).records == 64 * 64


async def test_result_that_cannot_be_kept_fails_its_objects(house: House) -> None:
    """What `on_result` raises comes out of the `run` of each object in that result, and of no other."""
    house.every("Rule.All", 1)
    failures = [Retryable("disk full")]

    async def keep(result: ChunkResult) -> None:
        if failures and any(span.identity == "unlucky" for span in result.spans):
            raise failures.pop()
        await house.keep(result)

    house.pool = Pool(msgspec.structs.replace(QUICK, workers=1), keep)
    await house.pool.start(house.spec)
    with pytest.raises(Retryable, match="disk full"):
        await house.run("unlucky", lines(10))
    await house.run("lucky", lines(10))
    await house.run("unlucky", lines(10))
    house.assert_whole({"lucky": 10, "unlucky": 10})


async def test_capacity_is_what_can_begin_now(house: House) -> None:
    """Receivers learn how many more objects fit; waiting ones count against it."""
    house.every("Rule.All", 1)
    await house.start(msgspec.structs.replace(QUICK, objects_per_worker=2))
    assert house.pool.idle_capacity() == 4
    gate = asyncio.Event()

    async def read() -> AsyncIterator[bytes]:
        await gate.wait()
        yield lines(1)

    running = [asyncio.create_task(house.pool.run(house.task(f"object {n}"), read)) for n in range(5)]
    await until(lambda: house.pool.stats().objects == 5)
    assert house.pool.idle_capacity() == 0
    gate.set()
    await asyncio.gather(*running)
    assert house.pool.idle_capacity() == 4


async def test_closed_pool_cuts_off_what_is_under_way(house: House) -> None:
    """`close` waits until its deadline; what is cut off raises Retryable, also what waited for a child."""
    house.every("Rule.All", 1)
    await house.start(msgspec.structs.replace(QUICK, objects_per_worker=1))
    never = asyncio.Event()

    async def read() -> AsyncIterator[bytes]:
        yield lines(1)
        await never.wait()

    running = [asyncio.create_task(house.pool.run(house.task(f"object {n}"), read)) for n in range(4)]
    await until(lambda: house.pool.stats().busy == 2)
    never_read = house.pool.close(0.05)
    never.set()
    await never_read
    with pytest.raises(Retryable):
        await house.run("late", lines(1))
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, Retryable)


async def _never_taken(house: House) -> asyncio.Event:
    """Start a pool whose results nobody ever takes; the event says that one is there."""
    stuck = asyncio.Event()

    async def never(_: ChunkResult) -> None:
        stuck.set()
        await asyncio.Event().wait()

    house.pool = Pool(msgspec.structs.replace(QUICK, workers=1), never)
    await house.pool.start(house.spec)
    return stuck


async def test_closing_does_not_wait_for_who_takes_the_results(house: House) -> None:
    """`on_result` waits for a lake that nobody mends: `close` ends all the same, and cuts the object off."""
    house.every("Rule.All", 1)
    stuck = await _never_taken(house)
    running = asyncio.create_task(house.run("object", lines(20_000)))
    await stuck.wait()
    async with asyncio.timeout(10):
        await house.pool.close(0.1)
        with pytest.raises(Retryable):
            await running


async def test_cancelling_does_not_wait_for_who_takes_the_results(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for one object that is cancelled, also when it runs alone because a child died under it."""
    monkeypatch.setattr(worker, "_END_SECONDS", 0.2)
    house.rule("Rule.Exits", "import os\ndef rule(event):\n    if event['id'] == 3:\n        os._exit(1)\n")
    stuck = await _never_taken(house)
    running = asyncio.create_task(house.run("object", lines(20)))
    await stuck.wait()
    async with asyncio.timeout(10):
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert house.pool.stats().objects == 0


async def test_mistakes_of_the_rooms_become_rejects(house: House) -> None:
    """An exception in reading is that record's reject; one in decoding ends the object with a reject."""
    house.factory = "tests.workers.fakes:fragile"
    house.every("Rule.All", 1)
    await house.start()
    bad = record(1, text=fakes.RAISES_IN_READER)
    await house.run("reading", b"\n".join((record(0), bad, record(2))))
    raw = b"\n".join((record(0), fakes.RAISES_IN_DECODER, record(2), b""))
    done = await house.pool.run(house.task("decoding"), pieces(raw))
    assert done.failure == "internal_error"
    house.assert_whole({"reading": 3, "decoding": done.records})
    reasons = [row["reason"] for row in house.rows("rejects") if row["reason"] == "internal_error"]
    assert len(reasons) == 2
    assert "ZeroDivisionError" in house.rows("rejects")[0]["detail"]


async def test_object_that_cannot_be_begun_is_a_reject(house: House) -> None:
    """A task that no session can be made for is one reject, for all ordinals that are not committed yet."""
    house.every("Rule.All", 1)
    await house.start()
    route = Route(log_types=("No.Such",))
    done = await house.run("object", lines(3), route=route, skip=((0, 4), (6, 7)))
    assert done.failure == "internal_error"
    assert [(row["ordinal"], row["reason"]) for row in house.rows("rejects")] == [(7, "internal_error")]
    assert "No.Such" in house.rows("rejects")[0]["detail"]
    spans = [(span.first, span.end) for result in house.results for span in result.spans]
    assert spans == [(4, 6), (7, 8)]


async def test_reader_that_hangs_does_not_outlive_its_pool(house: House) -> None:
    """A read that never answers is ended when its object is: by the pool's end, or the child's."""
    house.every("Rule.All", 1)
    await house.start()

    async def read() -> AsyncIterator[bytes]:
        yield lines(1)
        await asyncio.Event().wait()

    running = asyncio.create_task(house.pool.run(house.task("object"), read))
    await until(lambda: house.pool.stats().busy)
    async with asyncio.timeout(20):
        await house.pool.close()
        with pytest.raises(Retryable):
            await running


async def test_bad_code_is_told_with_its_place(house: House) -> None:
    """`start` raises every problem that the zygote found, with file and line."""
    house.rule("Rule.Broken", "def rule(event)\n    return True\n")
    (house.root / "schema.yml").write_text("schema: Test.Event\nfields:\n  - {name: id, type: nonsense}\n")
    pool = Pool(QUICK, house.keep)
    with pytest.raises(ConfigError) as caught:
        await pool.start(house.spec)
    files = {str(problem.file) for problem in caught.value.problems}
    assert any(file.endswith("schema.yml") for file in files)
    assert any("Rule.Broken" in file for file in files)
    assert all(problem.line for problem in caught.value.problems)
    await pool.close()


@pytest.mark.parametrize(
    ("factory", "load_secs", "message"),
    [("dies_loading", 60.0, "exit status 5"), ("slow_to_load", 1.0, "more than"), ("missing", 60.0, "no attribute")],
)
async def test_code_that_ends_or_stops_its_loader_is_a_mistake_of_configuration(
    house: House, factory: str, load_secs: float, message: str
) -> None:
    """Loading that exits or never ends is told as such, and no process stays behind."""
    house.factory = f"tests.workers.fakes:{factory}"
    pool = Pool(msgspec.structs.replace(QUICK, load_seconds=load_secs), house.keep)
    with pytest.raises(ConfigError, match=message):
        await pool.start(house.spec)
    assert pool.pids() == {"zygotes": [], "children": []}
    await pool.close()


def test_defaults_are_usable() -> None:
    """Settings need nothing said."""
    assert PoolSettings().workers >= 1
