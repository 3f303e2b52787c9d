"""Work by the clock: scheduled queries and correlation rules, each turn once, whoever of several daemons does it.

A turn is taken under a lease in the state. What it found is committed together with the time and position of the next
turn, and goes on from there as an object of `ingestd.scheduled.results`. A turn that fails leaves its error as
its result.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from ingestd import failpoints
from ingestd.detections.timetable import ScheduledQuery, Timetable
from ingestd.errors import Permanent, Retryable
from ingestd.lake.query_process import Lake, ask
from ingestd.scheduled import correlating
from ingestd.state import schedules, sightings
from ingestd.state.base import State, Transaction
from ingestd.telemetry import occurrences

LOOK_SECS = 2.0
"""How often to look for what is due."""
QUERIES_AT_ONCE = 2
LEASE_SECS = 60.0
"""Beyond the time that a turn may take."""
ENTER_SECS = 3_600.0
KEPT_SECS = 30 * 86_400.0
"""How long the position of what is not enabled any more is remembered, and sightings that no turn has looked at."""
SHORTEST_KEPT_SECS = 3 * 86_400.0
"""Of sightings, even if no correlation rule looks back that far."""
MOST_WAITING_BYTES = 256 << 20
"""Of results that are not worked off. While there are more, no turn begins."""
_SWEEP_ROWS = 5_000


class Scheduling:
    """See the module. `timetable` says what is enabled now, `wake` is called when there is a new result."""

    def __init__(
        self,
        state: State,
        lake: Lake,
        *,
        timetable: Callable[[], Timetable],
        epoch: Callable[[], int],
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lake = lake
        self._state = state
        self._timetable = timetable
        self._epoch = epoch
        self._wake = wake
        self._clock = clock
        self._entered: Timetable | None = None
        self._entered_at = 0.0
        self._room = {"query": asyncio.Semaphore(QUERIES_AT_ONCE), "correlation": asyncio.Semaphore(1)}
        self._under_way: dict[tuple[str, str], asyncio.Task[bool]] = {}

    async def turn(self) -> None:
        """Start everything that is due and not under way here."""
        for standing in await self._due():
            key = (standing.kind, standing.name)
            if key not in self._under_way:
                task = asyncio.create_task(self._do(standing), name=" ".join(key))
                self._under_way[key] = task
                task.add_done_callback(partial(self._done, key))

    async def learn(self) -> None:
        """Enter what is enabled, so that it is due from now on."""
        await self._enter(self._timetable(), self._clock())

    async def settle(self, until: float) -> bool:
        """Everything that was due by then, to its end; whether there was anything."""
        done = [await self._do(standing) for standing in await self._due() if standing.due_at <= until]
        return any(done)

    async def close(self) -> None:
        """Break off what is under way; it is done again by whoever comes. Idempotent."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """Forget sightings that no turn will look at any more, and what is not enabled any more."""
        now, timetable = self._clock(), self._timetable()
        kept = max(SHORTEST_KEPT_SECS, timetable.sightings_kept_secs)
        positions = await self._state.read(lambda tx: schedules.positions(tx, "correlation"))
        looked_at: dict[str, int] = {}
        for name, correlations in timetable.correlations.items():
            for detection_id in {detection_id for one in correlations for detection_id in one.detection_ids}:
                position = positions.get(name, 0)
                looked_at[detection_id] = min(looked_at.get(detection_id, position), position)
        sweep = partial(
            sightings.sweep,
            before=now - kept,
            in_any_case_before=now - max(kept, KEPT_SECS),
            looked_at=looked_at,
            limit=_SWEEP_ROWS,
        )
        while await self._state.transact(sweep):
            pass
        await self._state.transact(lambda tx: schedules.sweep(tx, before=now - KEPT_SECS))

    # --- what is due ------------------------------------------------------------------------------------------

    async def _due(self) -> list[schedules.Standing]:
        timetable, now = self._timetable(), self._clock()
        if not timetable.queries and not timetable.correlations:
            return []
        await self._enter(timetable, now)
        known = {("query", query.name) for query in timetable.queries}
        known |= {("correlation", name) for name in timetable.correlations}
        found = await self._state.read(lambda tx: schedules.standings(tx, now))
        due = [one for one in found if (one.kind, one.name) in known]
        if due and (waiting := await self._state.read(schedules.waiting_bytes)) > MOST_WAITING_BYTES:
            full = Retryable(f"results of earlier turns, {waiting:,} bytes, are not worked off yet")
            occurrences.retrying("schedule", full, in_secs=LOOK_SECS)
            return []
        return due

    async def _enter(self, timetable: Timetable, now: float) -> None:
        if timetable is self._entered and self._entered_at <= now < self._entered_at + ENTER_SECS:
            return  # a clock that was set back has everything due too late

        def work(tx: Transaction) -> None:
            for query in timetable.queries:
                first, following = query.schedule.first(now), query.schedule.following(now)
                schedules.enter(tx, "query", query.name, first, now, no_later=following)
            for name, correlations in timetable.correlations.items():
                following = now + correlating.Look(name, correlations).rate_secs
                schedules.enter(tx, "correlation", name, now, now, no_later=following)

        await self._state.transact(work)
        self._entered, self._entered_at = timetable, now

    async def _do(self, standing: schedules.Standing) -> bool:
        """One turn; whether it was done. What it raises is told, and it is due again."""
        kind, name = standing.kind, standing.name
        try:
            async with self._room[kind]:
                return await (self._correlate(standing) if kind == "correlation" else self._query(standing))
        except Retryable as error:
            occurrences.retrying("schedule", error, in_secs=LOOK_SECS, kind=kind, name=name)
        except Exception as error:  # noqa: BLE001 - one turn must stop no other
            occurrences.internal_error("schedule", error, kind=kind, name=name)
        return False

    def _done(self, key: tuple[str, str], _task: asyncio.Task[bool]) -> None:
        self._under_way.pop(key, None)

    @asynccontextmanager
    async def _taken(self, standing: schedules.Standing, secs: float) -> AsyncIterator[schedules.Turn | None]:
        """The turn, for so many seconds; None when somebody else has it. Given back when what runs inside fails."""
        now, epoch = self._clock(), self._epoch()
        until = now + secs + LEASE_SECS
        turn = await self._state.transact(lambda tx: schedules.take(tx, standing, epoch, now, until))
        try:
            yield turn
        except BaseException:
            if turn is not None:
                await self._state.transact(lambda tx: schedules.give_back(tx, turn))
            raise

    # --- queries ----------------------------------------------------------------------------------------------

    async def _query(self, standing: schedules.Standing) -> bool:
        query = next((one for one in self._timetable().queries if one.name == standing.name), None)
        if query is None:
            return False  # a reload has taken it away
        async with self._taken(standing, 60.0 * query.schedule.timeout_minutes) as turn:
            return turn is not None and await self._run(query, turn)

    async def _run(self, query: ScheduledQuery, turn: schedules.Turn) -> bool:
        now, started = self._clock(), time.monotonic()
        tick = query.schedule.latest(turn.due_at, now)
        failed = None
        try:
            body = await ask(self.lake.order(query.sql, tick), 60.0 * query.schedule.timeout_minutes)
        except Permanent as error:
            failed = error
            body = gzip.compress(correlating.failure(_class(error), str(error)) + b"\n")
        return await self._finish(
            turn, tick, body, due_at=query.schedule.following(tick), position=0, failed=failed, started=started
        )

    # --- correlation ------------------------------------------------------------------------------------------

    async def _correlate(self, standing: schedules.Standing) -> bool:
        correlations = self._timetable().correlations.get(standing.name)
        if correlations is None:
            return False  # a reload has taken it away
        look = correlating.Look(standing.name, correlations)
        now = self._clock()
        if not await look.read(self._state, standing.position, now):
            return False
        async with self._taken(standing, look.timeout_secs) as turn:
            return turn is not None and await self._look(look, turn, now)

    async def _look(self, look: correlating.Look, turn: schedules.Turn, now: float) -> bool:
        started = time.monotonic()
        failed = None
        try:
            records = await look.find()
        except Exception as error:  # noqa: BLE001 - one rule must stop no other, and none be stuck at a mistake of ours
            if not isinstance(error, Permanent):
                occurrences.internal_error("schedule", error, correlation=turn.name)
            failed = error if isinstance(error, Permanent) else Permanent(repr(error), reason="internal_error")
            records = [correlating.failure(_class(failed), str(failed))]
        body = gzip.compress(b"".join(record + b"\n" for record in records)) if records else b""
        due_at = now if look.is_behind else now + look.rate_secs
        return await self._finish(
            turn, now, body, due_at=due_at, position=look.position, failed=failed, started=started
        )

    # --- turns ------------------------------------------------------------------------------------------------

    async def _finish(
        self,
        turn: schedules.Turn,
        tick: float,
        body: bytes,
        *,
        due_at: float,
        position: int,
        failed: Permanent | None,
        started: float,
    ) -> bool:
        """Commit the result and the next turn together; False when the turn is not ours any more."""
        moment = datetime.fromtimestamp(tick, UTC)
        number = position if turn.kind == "correlation" else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        origin = {"kind": turn.kind, "name": turn.name, "time": moment.strftime("%Y-%m-%d %H:%M:%S.%f000")}
        result = schedules.Result(id=f"{turn.kind}/{turn.name}@{number}", origin=origin, body=body) if body else None
        now = self._clock()
        failpoints.hit("schedule.before_commit")
        ours = await self._state.transact(
            lambda tx: schedules.finish(tx, turn, due_at=due_at, position=position, result=result, now=now)
        )
        failpoints.hit("schedule.after_commit")
        if ours:
            occurrences.turn_finished(
                turn.kind,
                turn.name,
                found=result is not None,
                error=failed,
                seconds=time.monotonic() - started,
                late_secs=now - max(tick, turn.due_at),
            )
            if result is not None:
                self._wake()
        return ours


def _class(error: Permanent) -> str:
    """A name in the place of an exception's class: failures of one kind are one alert."""
    return "".join(part.capitalize() for part in error.reason.split("_"))
