"""Work by the clock in the state: each turn is taken by one, finished once, and leaves its result once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from ingestd.state import instances, schedules, sightings
from ingestd.state.schedules import Result
from ingestd.state.sightings import New
from ingestd.state.sqlite import SqliteState

RESULT = Result(id="query/Q@1", origin={"kind": "query", "name": "Q", "time": "t"}, body=b"rows")


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    """A state with one query that is due at 100, and two daemons, whose epochs are 1 and 2."""
    opened = SqliteState.open(tmp_path / "state.db")
    for name in ("a", "b"):
        await opened.transact(lambda tx, name=name: instances.register(tx, name, 0.0, 1e12))  # type: ignore[misc]
    await opened.transact(lambda tx: schedules.enter(tx, "query", "Q", 100.0, 0.0, no_later=1e3))
    yield opened
    await opened.close()


async def due(state: SqliteState, now: float) -> list[schedules.Standing]:
    """What is due and free."""
    return await state.read(lambda tx: schedules.standings(tx, now))


async def take(state: SqliteState, standing: schedules.Standing, holder: int, now: float) -> schedules.Turn | None:
    """Take a turn for ten seconds."""
    return await state.transact(lambda tx: schedules.take(tx, standing, holder, now, now + 10.0))


async def finish(state: SqliteState, turn: schedules.Turn, now: float) -> bool:
    """Finish a turn with a result, the next one due at 200."""
    return await state.transact(
        lambda tx: schedules.finish(tx, turn, due_at=200.0, position=5, result=RESULT, now=now)
    )


async def test_a_turn_is_taken_by_one_daemon(state: SqliteState) -> None:
    """The second finds it taken; nothing is due before its time."""
    assert await due(state, 99.0) == []
    [standing] = await due(state, 100.0)
    assert await take(state, standing, 1, 100.0) is not None
    assert await take(state, standing, 2, 100.0) is None
    assert await due(state, 105.0) == []


async def test_what_became_more_frequent_is_due_sooner(state: SqliteState) -> None:
    """Otherwise what is known stays as it is."""
    await state.transact(lambda tx: schedules.enter(tx, "query", "Q", 0.0, 0.0, no_later=200.0))
    assert [one.due_at for one in await due(state, 1e3)] == [100.0]
    await state.transact(lambda tx: schedules.enter(tx, "query", "Q", 0.0, 0.0, no_later=50.0))
    assert [one.due_at for one in await due(state, 1e3)] == [50.0]


async def test_a_turn_is_finished_once(state: SqliteState) -> None:
    """Its result and the next turn are there together; finishing it again changes nothing."""
    [standing] = await due(state, 100.0)
    turn = await take(state, standing, 1, 100.0)
    assert turn is not None
    assert await finish(state, turn, 101.0)
    assert not await finish(state, turn, 102.0)
    assert await state.read(schedules.waiting) == 1
    [after] = await due(state, 200.0)
    assert (after.due_at, after.position) == (200.0, 5)


async def test_who_lost_a_turn_leaves_no_result(state: SqliteState) -> None:
    """A daemon that slept past its lease finds that another has done it."""
    [standing] = await due(state, 100.0)
    slow = await take(state, standing, 1, 100.0)
    [again] = await due(state, 111.0)
    quick = await take(state, again, 2, 111.0)
    assert slow is not None
    assert quick is not None
    assert not await finish(state, slow, 112.0)
    assert await state.read(schedules.waiting) == 0
    assert await finish(state, quick, 112.0)


async def test_what_a_dead_daemon_held_is_free_at_once(state: SqliteState) -> None:
    """Turns and results, long before their leases are over."""
    [standing] = await due(state, 100.0)
    await take(state, standing, 1, 100.0)
    await state.transact(lambda tx: instances.remove(tx, 1))
    [again] = await due(state, 100.5)
    turn = await take(state, again, 2, 100.5)
    assert turn is not None
    await finish(state, turn, 101.0)
    given = await state.transact(lambda tx: schedules.take_results(tx, 2, 10, 101.0, 161.0))
    assert given == [RESULT.id]
    assert await state.transact(lambda tx: schedules.take_results(tx, 2, 10, 102.0, 162.0)) == []
    await state.transact(lambda tx: instances.remove(tx, 2))
    assert await state.transact(lambda tx: schedules.take_results(tx, 3, 10, 103.0, 163.0)) == [RESULT.id]


async def test_results_are_kept_until_they_are_worked_off(state: SqliteState) -> None:
    """Given back they come again after their time; dropped they are gone."""
    turn = await take(state, (await due(state, 100.0))[0], 1, 100.0)
    assert turn is not None
    await finish(state, turn, 100.0)
    await state.transact(lambda tx: schedules.take_results(tx, 1, 10, 100.0, 160.0))
    await state.transact(lambda tx: schedules.put_off(tx, RESULT.id, 130.0))
    assert await state.transact(lambda tx: schedules.take_results(tx, 1, 10, 129.0, 189.0)) == []
    assert await state.transact(lambda tx: schedules.take_results(tx, 1, 10, 130.0, 190.0)) == [RESULT.id]
    assert await state.read(lambda tx: schedules.result(tx, RESULT.id)) == RESULT
    await state.transact(lambda tx: schedules.drop(tx, RESULT.id))
    assert await state.read(lambda tx: schedules.result(tx, RESULT.id)) is None


async def test_what_is_not_enabled_any_more_is_forgotten(state: SqliteState) -> None:
    """Once nobody has entered it for long."""
    await state.transact(lambda tx: schedules.sweep(tx, before=0.0))
    assert len(await due(state, 100.0)) == 1
    await state.transact(lambda tx: schedules.sweep(tx, before=1.0))
    assert await due(state, 100.0) == []


def sighting(row: str, time: float, detection: str = "A") -> New:
    """A match of a detection."""
    return New(member=row.encode(), detection_id=detection, row_id=row, time=time, joins={"user": ("ana",)})


async def test_sightings_are_numbered_in_the_order_of_their_commits(state: SqliteState) -> None:
    """One that comes again changes nothing, and what came since a number is what is new."""
    await state.transact(lambda tx: sightings.add(tx, [sighting("r1", 50.0), sighting("r2", 10.0)], 100.0))
    await state.transact(lambda tx: sightings.add(tx, [sighting("r2", 10.0), sighting("r3", 30.0, "B")], 200.0))
    found = await state.read(lambda tx: sightings.since(tx, ["A", "B"], after=0, seen_until=1e9, limit=10))
    assert [one.row_id for one in found] == ["r1", "r2", "r3"]
    assert found[0].joins == {"user": ("ana",)}
    position = found[1].seq
    later = await state.read(lambda tx: sightings.since(tx, ["A", "B"], after=position, seen_until=1e9, limit=10))
    assert [one.row_id for one in later] == ["r3"]
    assert await state.read(lambda tx: sightings.newest(tx, ["A", "B", "C"])) == {"A": position, "B": later[0].seq}


async def test_sightings_are_found_by_the_time_of_their_events(state: SqliteState) -> None:
    """Of the detections asked for; of too many, the newest."""
    new = [sighting("r1", 50.0), sighting("r2", 10.0), sighting("r3", 30.0, "B")]
    await state.transact(lambda tx: sightings.add(tx, new, 100.0))
    found = await state.read(lambda tx: sightings.between(tx, ["A", "B"], [(20.0, 60.0)], 10))
    assert {one.row_id for one in found} == {"r1", "r3"}
    assert len(await state.read(lambda tx: sightings.between(tx, ["A"], [(0.0, 60.0)], 1))) == 1


async def test_old_sightings_are_forgotten_and_numbers_not_used_again(state: SqliteState) -> None:
    """By when they were seen."""
    await state.transact(lambda tx: sightings.add(tx, [sighting("r1", 50.0)], 100.0))
    for before, forgotten in ((100.0, 0), (101.0, 1)):
        sweep = partial(sightings.sweep, before=before, in_any_case_before=0.0, looked_at={}, limit=10)
        assert await state.transact(sweep) == forgotten
    again = msgspec.structs.replace(sighting("r9", 50.0))
    await state.transact(lambda tx: sightings.add(tx, [again], 200.0))
    found = await state.read(lambda tx: sightings.since(tx, ["A"], after=1, seen_until=1e9, limit=10))
    assert [one.row_id for one in found] == ["r9"]


async def test_so_many_sightings_are_read_at_once_as_fit(state: SqliteState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their values have a bound in bytes, but one is always read."""
    await state.transact(lambda tx: sightings.add(tx, [sighting(f"r{n}", 1.0) for n in range(5)], 100.0))
    size = 11  # of {"user": ["ana"]} as stored
    for most, found in ((1, 1), (3 * size, 3), (9 * size, 5)):
        monkeypatch.setattr(sightings, "MOST_BYTES", most)
        new = await state.read(lambda tx: sightings.since(tx, ["A"], after=0, seen_until=1e9, limit=10))
        assert [one.row_id for one in new] == [f"r{n}" for n in range(found)]
        around = await state.read(lambda tx: sightings.between(tx, ["A"], [(0.0, 9.0)], 10))
        assert [one.row_id for one in around] == [f"r{4 - n}" for n in range(found)]


async def test_a_clock_that_is_set_back_hides_no_sighting(state: SqliteState) -> None:
    """What came before something that is not old enough is taken first; nothing is passed over."""
    for row, seen_at in (("r1", 100.0), ("r2", 500.0), ("r3", 101.0)):
        await state.transact(lambda tx, row=row, at=seen_at: sightings.add(tx, [sighting(row, 1.0)], at))  # type: ignore[misc]
    found = await state.read(lambda tx: sightings.since(tx, ["A"], after=0, seen_until=200.0, limit=10))
    assert [one.row_id for one in found] == ["r1"]
    found = await state.read(lambda tx: sightings.since(tx, ["A"], after=1, seen_until=600.0, limit=10))
    assert [one.row_id for one in found] == ["r2", "r3"]
