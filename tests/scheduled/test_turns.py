"""Work by the clock: what is due when, what a turn looks at, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.detections.correlation import syntax
from ingestd.detections.correlation.model import Correlation
from ingestd.detections.timetable import Schedule, ScheduledQuery, Timetable
from ingestd.errors import Permanent, Retryable
from ingestd.lake.query_process import Lake
from ingestd.lake.query_program import Order
from ingestd.scheduled import correlating, turns
from ingestd.scheduled.turns import Scheduling
from ingestd.state import instances, schedules, sightings
from ingestd.state.sightings import New
from ingestd.state.sqlite import SqliteState
from ingestd.telemetry import catalogue

HOUR = 3_600.0
START = 1_000_000.0


def correlation(*, absent: str = "", **keys: Any) -> tuple[Correlation, ...]:
    """A group of A and B by one user within an hour, looked at every ten minutes."""
    steps = [{"ID": name, "RuleID": name, "Absence": name == absent} for name in "AB"]
    criteria = {"user": [{"GroupID": name, "Match": "user"} for name in "AB"]}
    group = {"Group": steps, "MatchCriteria": criteria, "LookbackWindowMinutes": 60}
    return syntax.parse([{**group, "Schedule": {"RateMinutes": 10, "TimeoutMinutes": 1}, **keys}])


class Bench:
    """A state, a clock, and the daemon that does what is due."""

    def __init__(self, state: SqliteState) -> None:
        self.state = state
        self.now = START
        self.timetable = Timetable(correlations={"C": correlation()})
        self.daemons = [self._daemon(epoch) for epoch in (1, 2)]
        self._rows = 0

    def _daemon(self, epoch: int) -> Scheduling:
        return Scheduling(
            self.state,
            Lake(url="/nonexistent"),
            timetable=lambda: self.timetable,
            epoch=lambda: epoch,
            clock=lambda: self.now,
        )

    async def see(self, detection: str, user: str, ago: float = 0.0) -> None:
        """A match by a user, of an event so many seconds ago."""
        self._rows += 1
        row = f"r{self._rows}"
        new = New(
            member=row.encode(), detection_id=detection, row_id=row, time=self.now - ago, joins={"user": (user,)}
        )
        await self.state.transact(lambda tx: sightings.add(tx, [new], self.now))

    async def look(self, daemon: int = 0) -> list[Any]:
        """What a look of a daemon leaves: findings as (user, rows), errors as their type."""
        await self.daemons[daemon].turn()
        await asyncio.gather(*self.daemons[daemon]._under_way.values())
        ids = await self.state.transact(lambda tx: schedules.take_results(tx, 1, 100, self.now, self.now + 1e6))
        found: list[Any] = []
        for one in sorted(ids):
            result = await self.state.read(lambda tx, one=one: schedules.result(tx, one))  # type: ignore[misc]
            assert result is not None
            records = [json.loads(line) for line in gzip.decompress(result.body).splitlines()]
            found += [_shown(record) for record in records]
        return found


def _shown(record: dict[str, Any]) -> Any:
    if "error" in record:
        return record["error"]["type"]
    finding = record["result"]
    if "matches" not in finding:
        return finding
    return "".join(finding["values"].values()), [match["p_row_id"] for match in finding["matches"]]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """With two daemons on one state."""
    state = SqliteState.open(tmp_path / "state.db")
    for name in ("a", "b"):
        await state.transact(lambda tx, name=name: instances.register(tx, name, 0.0, 1e12))  # type: ignore[misc]
    made = Bench(state)
    yield made
    for daemon in made.daemons:
        await daemon.close()
    await state.close()


async def test_what_came_together_is_found_once(bench: Bench) -> None:
    """At the first look after it came, by whichever daemon, and not before the rule's rate is over again."""
    assert await bench.look() == []
    await bench.see("A", "ana")
    await bench.see("B", "ana")
    assert await bench.look() == [("ana", ["r1", "r2"])]
    assert await bench.look(1) == []
    await bench.see("B", "ana")
    assert await bench.look(1) == []
    bench.now += 600
    assert await bench.look(1) == [("ana", ["r1", "r2", "r3"])]
    bench.now += 600
    assert await bench.look() == []


async def test_a_late_match_finds_what_it_belongs_to(bench: Bench) -> None:
    """However long ago the event was: what counts is what lies around it, not around now."""
    await bench.see("A", "ana", ago=30 * HOUR)
    assert await bench.look() == []
    bench.now += HOUR
    await bench.see("B", "ana", ago=31 * HOUR)
    assert await bench.look() == [("ana", ["r1", "r2"])]


async def test_what_must_be_absent_is_waited_for(bench: Bench) -> None:
    """As long as the rule's rate, as its log may come later."""
    bench.timetable = Timetable(correlations={"C": correlation(absent="B")})
    await bench.see("A", "ana", ago=60)
    await bench.see("A", "bob", ago=60)
    assert await bench.look() == []
    bench.now += 300
    await bench.see("B", "ana", ago=360)
    bench.now += 300
    assert await bench.look() == [("bob", ["r2"])]


async def test_a_turn_that_takes_too_long_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves on all the same: it would take too long again."""

    async def slow(self: correlating.Look) -> list[bytes]:
        raise Permanent("it took more than 60 s", reason="query_timeout")

    monkeypatch.setattr(correlating.Look, "find", slow)
    failed = catalogue.value("ingestd_scheduled_turns_total", kind="correlation", outcome="failed")
    await bench.see("A", "ana")
    assert await bench.look() == ["QueryTimeout"]
    assert catalogue.value("ingestd_scheduled_turns_total", kind="correlation", outcome="failed") == failed + 1
    bench.now += 600
    assert await bench.look() == []


async def test_a_turn_keeps_to_its_time() -> None:
    """It looks at the clock while it searches."""
    look = correlating.Look("C", correlation())
    ticks = iter(range(0, 10_000, 100))
    look._around = [
        sightings.Sighting(seq=n, detection_id=d, row_id=str(n), time=0.0, seen_at=0.0, joins={"user": ["ana"]})
        for n, d in enumerate("AB")
    ]
    with pytest.raises(Permanent, match="more than 60 s"):
        await look.find(lambda: float(next(ticks)))


async def test_too_many_matches_are_told_and_the_newest_joined(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And of too many findings the first are kept: memory has a bound."""
    monkeypatch.setattr(correlating, "MOST_SIGHTINGS", 4)
    monkeypatch.setattr(correlating, "MOST_FINDINGS", 1)
    for user in ("ana", "bob", "cem"):
        await bench.see("A", user)
        await bench.see("B", user)
    assert await bench.look() == ["TooManyMatches", ("ana", ["r1", "r2"]), "TooManyFindings"]


async def test_more_than_a_turn_takes_is_taken_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once."""
    monkeypatch.setattr(correlating, "MOST_NEW", 2)
    for user in ("ana", "bob", "cem"):
        await bench.see("A", user)
        await bench.see("B", user)
    found = [await bench.look() for _ in range(3)]
    assert sorted(one[0] for several in found for one in several) == ["ana", "bob", "cem"]


async def test_an_event_of_another_year_takes_no_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between what its time says and now is not looked at because of it."""
    monkeypatch.setattr(correlating, "MOST_SIGHTINGS", 4)
    for number in range(4):
        await bench.see("B", f"u{number}", ago=(20 + number) * HOUR)
    assert await bench.look() == []
    bench.now += 600
    await bench.see("A", "eve", ago=300 * 24 * HOUR)
    await bench.see("A", "ana")
    await bench.see("B", "ana")
    assert await bench.look() == [("ana", ["r6", "r7"])]


async def test_results_that_pile_up_let_no_turn_begin(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due waits until they are worked off."""
    await bench.see("A", "ana")
    await bench.see("B", "ana")
    pile = schedules.Result(id="query/Q@1", origin={}, body=b"x" * 100)
    await bench.state.transact(lambda tx: schedules.enter(tx, "query", "Q", 0.0, 0.0, no_later=0.0))
    [standing] = await bench.state.read(lambda tx: schedules.standings(tx, 0.0))
    turn = await bench.state.transact(lambda tx: schedules.take(tx, standing, 1, 0.0, 1.0))
    assert turn is not None
    await bench.state.transact(lambda tx: schedules.finish(tx, turn, due_at=1e9, position=0, result=pile, now=0.0))
    monkeypatch.setattr(turns, "MOST_WAITING_BYTES", 99)
    assert not await bench.daemons[0].settle(bench.now)
    await bench.state.transact(lambda tx: schedules.drop(tx, pile.id))
    assert await bench.look() == [("ana", ["r1", "r2"])]


async def test_a_clock_that_was_set_back_delays_nothing(bench: Bench) -> None:
    """A turn that was due years ahead is due in its rate's time."""
    assert await bench.look() == []
    bench.now += 1000 * 24 * HOUR
    await bench.see("A", "eve")
    assert await bench.look() == []
    bench.now -= 1000 * 24 * HOUR
    await bench.see("A", "ana")
    await bench.see("B", "ana")
    assert await bench.look() == []
    bench.now += 600
    assert await bench.look() == [("ana", ["r2", "r3"])]


async def test_a_query_has_its_turn_at_its_time_and_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one daemon, as of its time; after a pause the last turn that was missed is made up for."""
    asked: list[float] = []

    async def ask(order: Order, timeout_secs: float) -> bytes:
        asked.append(order.now)
        return gzip.compress(b'{"result": {"n": 1}}\n') if len(asked) == 1 else b""

    monkeypatch.setattr(turns, "ask", ask)
    query = ScheduledQuery(name="Q", sql="select 1", schedule=Schedule(rate_minutes=60))
    bench.timetable = Timetable(queries=(query,))
    for daemon in bench.daemons:
        await daemon.learn()
    assert await bench.look() == [{"n": 1}]
    assert await bench.look(1) == []
    bench.now += HOUR / 2
    assert await bench.look() == []
    bench.now += 5 * HOUR
    assert await bench.look(1) == []
    assert asked == [START, START + 5 * HOUR]


async def test_a_query_that_fails_leaves_its_error(bench: Bench) -> None:
    """By the class of its failure, so that repeats are one alert."""
    query = ScheduledQuery(name="Q", sql="select from", schedule=Schedule(rate_minutes=60))
    bench.timetable = Timetable(queries=(query,))
    assert await bench.look() == ["QueryFailed"]


async def test_a_turn_that_cannot_be_done_now_is_due_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By anybody, at once: nothing of it is held."""

    async def fail(order: Order, timeout_secs: float) -> bytes:
        raise Retryable("no process")

    monkeypatch.setattr(turns, "ask", fail)
    query = ScheduledQuery(name="Q", sql="select 1", schedule=Schedule(rate_minutes=60))
    bench.timetable = Timetable(queries=(query,))
    await bench.daemons[0].learn()
    assert not await bench.daemons[0].settle(bench.now)
    assert len(await bench.state.read(lambda tx: schedules.standings(tx, bench.now))) == 1


async def test_what_is_old_is_forgotten(bench: Bench) -> None:
    """Sightings after twice the longest look-back, but not within three days."""
    await bench.see("A", "ana")
    assert await bench.look() == []
    bench.now += 2 * 24 * HOUR
    await bench.daemons[0].sweep()
    assert await bench.state.read(lambda tx: sightings.newest(tx, ["A"])) == {"A": 1}
    bench.now += 2 * 24 * HOUR
    await bench.daemons[0].sweep()
    assert await bench.state.read(lambda tx: sightings.newest(tx, ["A"])) == {}


async def test_what_no_turn_has_looked_at_is_kept(bench: Bench) -> None:
    """After a week without a daemon, or as long as a rule that has its turn every week waits; but not for ever."""
    await bench.see("A", "ana")
    await bench.see("B", "ana")
    bench.now += 7 * 24 * HOUR
    await bench.daemons[0].sweep()
    assert await bench.look() == [("ana", ["r1", "r2"])]
    await bench.daemons[0].sweep()
    assert await bench.state.read(lambda tx: sightings.newest(tx, ["A", "B"])) == {}
    bench.timetable = Timetable(correlations={"C": correlation(Schedule={"RateMinutes": 7 * 24 * 60})})
    await bench.see("A", "bob")
    bench.now += 6 * 24 * HOUR
    await bench.daemons[0].sweep()
    assert await bench.state.read(lambda tx: sightings.newest(tx, ["A"])) == {"A": 3}
    bench.now += 40 * 24 * HOUR
    await bench.daemons[0].sweep()
    assert await bench.state.read(lambda tx: sightings.newest(tx, ["A"])) == {}
