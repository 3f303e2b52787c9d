"""Delivery: each alert to each destination, soon, in spite of everything, and never one destination for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from ingestd.alerts import lane as lane_module
from ingestd.alerts.destinations.memory import MemoryDestination
from ingestd.alerts.lane import Lane, LaneSettings
from ingestd.alerts.outbox import Outbox
from ingestd.alerts.pacing import FAILURES_TO_OPEN, FIRST_PAUSE_SECS
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing, Rule
from ingestd.errors import ConfigError, Overloaded, Permanent, Problem, Retryable
from ingestd.model import Alert
from ingestd.state import instances
from ingestd.state import outbox as table
from ingestd.state.memory import MemoryState
from ingestd.telemetry.health import Health
from tests.alerts.samples import Clock, match

FAST = LaneSettings(per_minute=600_000, timeout_secs=5.0)


class World:
    """Destinations on one state, an outbox that delivers to them, and a door to raise alerts by."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self.state = state
        self.clock = clock
        self.health = Health(clock)
        self._running: list[asyncio.Task[None]] = []

    async def register(self) -> int:
        """A new instance's epoch."""
        now = self.clock()
        return await self.state.transact(lambda tx: instances.register(tx, "", now, now + 60))

    async def start(
        self, *destinations: MemoryDestination, settings: Mapping[str, LaneSettings] | None = None
    ) -> tuple[Alerts, Outbox]:
        """Deliver to these from now on."""
        chosen = {destination.name: FAST for destination in destinations} | dict(settings or {})
        epoch = await self.register()
        outbox = Outbox(
            self.state,
            {destination.name: destination for destination in destinations},
            chosen,
            epoch=lambda: epoch,
            health=self.health,
            clock=self.clock,
        )
        self._running.append(asyncio.create_task(outbox.run()))
        return self.alerts(*(destination.name for destination in destinations), outbox=outbox), outbox

    def alerts(self, *names: str, outbox: Outbox | None = None) -> Alerts:
        """A door whose alerts go to all these."""
        wake = outbox.wake if outbox else lambda: None
        return Alerts(self.state, Routing(Rule(name=name) for name in names), self.clock, on_due=wake)

    async def stop(self) -> None:
        """Cancel what runs."""
        for task in self._running:
            task.cancel()
        for task in self._running:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._running.clear()

    async def row(self, alert_id: str, destination: str) -> table.DeliveryState:
        """The outbox row."""
        rows = await self.state.read(lambda tx: table.deliveries(tx, [alert_id]))
        return next(row for row in rows if row.destination == destination)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world of its own for each test."""
    state = MemoryState()
    made = World(state, Clock())
    yield made
    await made.stop()
    await state.close()


async def until(outbox: Outbox, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for attempts to end until the condition holds."""
    lanes = outbox._lanes
    async with asyncio.timeout(10):
        while True:
            for lane in lanes:
                lane.moved.clear()
            if await condition():
                return
            waiters = [asyncio.ensure_future(lane.moved.wait()) for lane in lanes]
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED, timeout=0.2)
            for waiter in waiters:
                waiter.cancel()


async def raised(alerts: Alerts, count: int = 1, first: int = 0, **changes: Any) -> list[str]:
    """Raise alerts, one window each; their ids."""
    given = [match(first + n, dedup=f"d{first + n}", **changes) for n in range(count)]
    return [str(alert_id) for alert_id in await alerts.record(given)]


async def attempted(world: World, outbox: Outbox, alert_id: str, name: str, attempts: int) -> table.DeliveryState:
    """The row once so many attempts were made."""

    async def enough() -> bool:
        return (await world.row(alert_id, name)).attempts >= attempts

    await until(outbox, enough)
    return await world.row(alert_id, name)


async def test_an_alert_reaches_every_destination_once(world: World) -> None:
    """Each destination gets the alert as it is listed, and the row keeps the provider's reference."""
    pager, soc = MemoryDestination("pager"), MemoryDestination("soc")
    alerts, outbox = await world.start(pager, soc)
    (alert_id,) = await raised(alerts)
    assert await outbox.drain(10) == 0
    assert [alert.alert_id for alert in pager.received] == [alert_id]
    assert [alert.title for alert in soc.received] == [match(0).title]
    row = await world.row(alert_id, "pager")
    assert (row.status, row.attempts, row.reference) == ("sent", 1, f"memory:{alert_id}")


async def test_what_was_due_before_the_start_is_sent(world: World) -> None:
    """Alerts that an earlier life left behind are found without being told of."""
    ids = await raised(world.alerts("soc"), 3)
    soc = MemoryDestination("soc")
    _, outbox = await world.start(soc)
    await outbox.drain(10)
    assert [alert.alert_id for alert in soc.received] == sorted(ids)


async def test_a_temporary_failure_is_tried_again_later(world: World) -> None:
    """The row keeps the reason and its next time; when that has come the alert is sent."""
    soc = MemoryDestination("soc")
    soc.fail_next.append(Retryable("soc: busy"))
    alerts, outbox = await world.start(soc)
    (alert_id,) = await raised(alerts)
    row = await attempted(world, outbox, alert_id, "soc", 1)
    assert (row.status, row.error) == ("pending", "soc: busy")
    assert world.clock.now < row.due_at <= world.clock.now + lane_module.FIRST_BACKOFF_SECS
    assert soc.received == []
    world.clock.advance(lane_module.FIRST_BACKOFF_SECS)
    assert await outbox.drain(10) == 0
    assert len(soc.received) == 1


async def test_the_back_off_grows_to_its_limit(world: World) -> None:
    """Waiting doubles from attempt to attempt, never past the longest back-off."""
    soc = MemoryDestination("soc")
    alerts, outbox = await world.start(soc)
    (alert_id,) = await raised(alerts)
    await outbox.drain(10)
    (alert_id,) = await raised(alerts, first=1)
    soc.down = True
    waits = []
    for attempt in range(1, 4):
        outbox.wake()
        row = await attempted(world, outbox, alert_id, "soc", attempt)
        waits.append(row.due_at - world.clock.now)
        world.clock.now = row.due_at
    assert 1 <= waits[0] <= 2 <= waits[1] <= 4 <= waits[2] <= 8


async def test_retry_after_is_honoured(world: World) -> None:
    """A destination that says when to come again is not asked before, for no alert, and is not called down."""
    soc = MemoryDestination("soc")
    soc.fail_next.append(Overloaded("soc: slow down", retry_after=40.0))
    alerts, outbox = await world.start(soc)
    (first,) = await raised(alerts)
    row = await attempted(world, outbox, first, "soc", 1)
    assert row.due_at == world.clock.now + 40
    await raised(alerts, first=1)
    world.clock.advance(39)
    outbox.wake()
    assert await outbox.drain(0) == 1
    assert soc.attempts == [first]
    assert world.health.component("destination", "soc").state == "ok"
    world.clock.advance(1)
    assert await outbox.drain(10) == 0
    assert len(soc.received) == 2


async def test_a_refusal_for_good_is_kept_with_its_reason(world: World) -> None:
    """A permanent failure is not repeated; it is listed as failed and sent again when someone asks for it."""
    soc = MemoryDestination("soc")
    soc.fail_next.append(Permanent("soc: invalid_payload"))
    alerts, outbox = await world.start(soc)
    (alert_id,) = await raised(alerts)
    assert await outbox.drain(10) == 0
    failed = await alerts.failed()
    assert [(row.alert_id, row.destination, row.error) for row in failed] == [
        (alert_id, "soc", "soc: invalid_payload")
    ]
    assert await alerts.retry(alert_id="0" * 32) == 0
    assert await alerts.retry(alert_id=alert_id, destination="soc") == 1
    assert await outbox.drain(10) == 0
    assert [alert.alert_id for alert in soc.received] == [alert_id]
    assert await alerts.failed() == []


async def test_an_alert_is_given_up_after_its_time(world: World) -> None:
    """After `retry_secs` and some attempts at least, an alert that nobody takes counts as failed."""
    soc = MemoryDestination("soc")
    soc.down = True
    settings = LaneSettings(retry_secs=100.0, per_minute=600_000)
    alerts, outbox = await world.start(soc, settings={"soc": settings})
    (alert_id,) = await raised(alerts)
    for attempt in range(1, lane_module.LEAST_ATTEMPTS + 1):
        outbox.wake()
        row = await attempted(world, outbox, alert_id, "soc", attempt)
        assert (row.status == "dead") == (attempt == lane_module.LEAST_ATTEMPTS)
        world.clock.advance(200)
    assert row.error == "soc: down, as told"


async def test_a_lost_answer_repeats_the_same_alert(world: World) -> None:
    """When the answer is lost, the alert goes out again under its id, which an exactly-once destination knows."""
    soc, log = MemoryDestination("soc"), MemoryDestination("log", exactly_once=False)
    soc.lose_answers = log.lose_answers = 1
    alerts, outbox = await world.start(soc, log)
    (alert_id,) = await raised(alerts)
    await attempted(world, outbox, alert_id, "soc", 1)
    await attempted(world, outbox, alert_id, "log", 1)
    world.clock.advance(2)
    await outbox.drain(10)
    assert soc.attempts == [alert_id, alert_id]
    assert [alert.alert_id for alert in soc.received] == [alert_id]
    assert [alert.alert_id for alert in log.received] == [alert_id, alert_id]


async def test_a_hanging_destination_holds_up_no_other(world: World) -> None:
    """While one destination answers nothing, all alerts reach the others."""
    slow, soc = MemoryDestination("slow"), MemoryDestination("soc")
    slow.open.clear()
    alerts, outbox = await world.start(slow, soc)
    ids = await raised(alerts, 30)

    async def all_there() -> bool:
        return len(soc.received) == len(ids)

    await until(outbox, all_there)
    assert slow.received == []
    assert len(slow.attempts) <= FAST.concurrency
    slow.open.set()
    assert await outbox.drain(10) == 0
    assert len(slow.received) == len(ids)


async def test_an_attempt_ends_at_its_time_limit(world: World) -> None:
    """A destination that never answers is broken off, and the alert is tried again later."""
    slow = MemoryDestination("slow")
    slow.open.clear()
    settings = LaneSettings(timeout_secs=-0.95)  # a second of grace is added for the destination's own limit
    alerts, outbox = await world.start(slow, settings={"slow": settings})
    (alert_id,) = await raised(alerts)
    row = await attempted(world, outbox, alert_id, "slow", 1)
    assert row.status == "pending"
    assert "no answer" in row.error


async def test_a_destination_that_is_down_is_probed(world: World) -> None:
    """After failures in a row only single alerts are tried, the others keep their attempts; one success reopens."""
    soc = MemoryDestination("soc")
    soc.down = True
    alerts, outbox = await world.start(soc)
    ids = await raised(alerts, 12)

    async def open_circuit() -> bool:
        return world.health.component("destination", "soc").state == "recoverable_error"

    await until(outbox, open_circuit)
    before = len(soc.attempts)
    assert before < FAILURES_TO_OPEN + FAST.concurrency
    outbox.wake()
    assert await outbox.drain(5) == 12, "drain does not wait for a destination that is down"
    assert len(soc.attempts) == before

    soc.down = False
    world.clock.advance(FIRST_PAUSE_SECS)
    outbox.wake()

    async def all_there() -> bool:
        return len(soc.received) == len(ids)

    await until(outbox, all_there)
    assert world.health.component("destination", "soc").state == "ok"


async def test_the_rate_is_kept(world: World) -> None:
    """No more alerts go out than the destination's rate allows."""
    soc = MemoryDestination("soc")
    alerts, outbox = await world.start(soc, settings={"soc": LaneSettings(per_minute=60)})
    await raised(alerts, 12)

    async def sent(count: int) -> None:
        async def enough() -> bool:
            return len(soc.received) >= count

        await until(outbox, enough)
        outbox.wake()
        await outbox.drain(0)
        assert len(soc.received) == count

    await sent(5)
    world.clock.advance(1)
    outbox.wake()
    await sent(6)


async def test_a_mistake_in_a_destination_ends_nothing(world: World) -> None:
    """An exception that no destination should raise is a failed attempt, and the lane goes on."""

    class Broken(MemoryDestination):
        async def send(self, alert: Alert) -> str:
            if not self.attempts:
                self.attempts.append(alert.alert_id)
                raise KeyError("oops")
            return await super().send(alert)

    broken = Broken("broken")
    alerts, outbox = await world.start(broken)
    (alert_id,) = await raised(alerts)
    row = await attempted(world, outbox, alert_id, "broken", 1)
    assert "KeyError" in row.error
    world.clock.advance(2)
    assert await outbox.drain(10) == 0
    assert len(broken.received) == 1


async def test_a_missing_secret_is_temporary(world: World) -> None:
    """A secret that cannot be read now may be there at the next attempt."""

    class Forgetful(MemoryDestination):
        async def send(self, alert: Alert) -> str:
            if not self.attempts:
                self.attempts.append(alert.alert_id)
                raise ConfigError([Problem("the environment variable X of a secret is not set")])
            return await super().send(alert)

    forgetful = Forgetful("forgetful")
    alerts, outbox = await world.start(forgetful)
    (alert_id,) = await raised(alerts)
    row = await attempted(world, outbox, alert_id, "forgetful", 1)
    assert "environment variable X" in row.error
    world.clock.advance(2)
    await outbox.drain(10)
    assert len(forgetful.received) == 1


async def test_a_state_that_fails_delays_and_loses_nothing(world: World) -> None:
    """When claims or marks fail, they are tried again; every alert arrives and is marked."""
    soc = MemoryDestination("soc")
    alerts, outbox = await world.start(soc)
    await outbox.drain(10)
    (alert_id,) = await raised(alerts)
    world.state.fail_before_commit = 1
    assert await outbox.drain(10) == 0
    assert [alert.alert_id for alert in soc.received] == [alert_id]


async def test_leases_of_the_dead_are_free_at_once(world: World) -> None:
    """What a daemon had claimed when it died is sent by another as soon as its registration is gone."""
    (alert_id,) = await raised(world.alerts("soc"))
    dead = await world.register()
    now = world.clock()
    claimed = await world.state.transact(
        lambda tx: table.claim(tx, "soc", str(dead), now=now, lease_secs=600, limit=5)
    )
    assert [row.alert_id for row in claimed] == [alert_id]
    await world.state.transact(lambda tx: instances.remove(tx, dead))
    soc = MemoryDestination("soc")
    _, outbox = await world.start(soc)

    async def arrived() -> bool:
        return len(soc.received) == 1

    await until(outbox, arrived)


async def test_leases_of_the_living_are_respected(world: World) -> None:
    """What another living daemon has claimed is left to it until the lease has run out."""
    (alert_id,) = await raised(world.alerts("soc"))
    other = await world.register()
    now = world.clock()
    await world.state.transact(lambda tx: table.claim(tx, "soc", str(other), now=now, lease_secs=40, limit=5))
    soc = MemoryDestination("soc")
    _, outbox = await world.start(soc)
    assert await outbox.drain(0) == 1
    assert soc.attempts == []
    world.clock.advance(40)
    assert await outbox.drain(10) == 0
    assert soc.attempts == [alert_id]


async def test_who_lost_a_lease_changes_nothing(world: World) -> None:
    """A daemon whose lease ran out and was taken over can neither finish nor put back the row."""
    (alert_id,) = await raised(world.alerts("soc"))
    now = world.clock()
    (row,) = await world.state.transact(lambda tx: table.claim(tx, "soc", "1", now=now, lease_secs=10, limit=1))
    later = now + 10
    (taken,) = await world.state.transact(lambda tx: table.claim(tx, "soc", "2", now=later, lease_secs=10, limit=1))
    for change in (
        lambda tx: table.sent(tx, row, now=now, reference="x"),
        lambda tx: table.put_back(tx, row, due_at=now, error="x"),
        lambda tx: table.dead(tx, row, now=now, error="x"),
    ):
        assert await world.state.transact(change) is False
    assert await world.state.transact(lambda tx: table.sent(tx, taken, now=now, reference="y")) is True
    assert (await world.row(alert_id, "soc")).reference == "y"


async def test_several_daemons_share_the_work_without_repeating_it(world: World) -> None:
    """Two outboxes on one state deliver each alert once between them."""
    one, two = MemoryDestination("soc", exactly_once=False), MemoryDestination("soc", exactly_once=False)
    alerts, outbox = await world.start(one)
    _, other = await world.start(two)
    ids = []
    for first in range(0, 60, 10):
        ids += await raised(alerts, 10, first=first)
        other.wake()
    await outbox.drain(10)
    assert sorted(alert.alert_id for alert in one.received + two.received) == sorted(ids)


async def test_stopping_gives_the_leases_back(world: World) -> None:
    """An outbox that is cancelled breaks off what does not arrive in time and leaves it to the next one at once."""
    slow = MemoryDestination("slow")
    slow.open.clear()
    alerts, outbox = await world.start(slow, settings={"slow": LaneSettings(timeout_secs=0.05)})
    (alert_id,) = await raised(alerts)

    async def under_way() -> bool:
        return slow.attempts == [alert_id]

    await until(outbox, under_way)
    await world.stop()
    now = world.clock()
    claimed = await world.state.transact(lambda tx: table.claim(tx, "slow", "9", now=now, lease_secs=9, limit=1))
    assert [row.alert_id for row in claimed] == [alert_id]


async def test_stopping_waits_for_what_is_under_way(world: World) -> None:
    """A reload or the end of a drain does not repeat an alert at a destination that cannot recognise a repeat."""
    one = MemoryDestination("soc", exactly_once=False)
    one.open.clear()
    alerts, outbox = await world.start(one)
    (alert_id,) = await raised(alerts)

    async def under_way() -> bool:
        return one.attempts == [alert_id]

    await until(outbox, under_way)
    stopping = asyncio.create_task(world.stop())
    await asyncio.sleep(0)
    one.open.set()
    await stopping
    assert (await world.row(alert_id, "soc")).status == "sent"
    _, after = await world.start(one)
    assert await after.drain(10) == 0
    assert [alert.alert_id for alert in one.received] == [alert_id]


async def test_alerts_for_a_removed_destination_are_buried(world: World) -> None:
    """What waits for a destination that left the configuration stays for a while, then counts as failed."""
    (alert_id,) = await raised(world.alerts("gone"))
    _, outbox = await world.start(MemoryDestination("soc"))
    assert await outbox.drain(1) == 0
    await outbox._tend_once()
    assert (await world.row(alert_id, "gone")).status == "pending"
    world.clock.advance(LaneSettings().retry_secs + 1)
    await outbox._tend_once()
    row = await world.row(alert_id, "gone")
    assert (row.status, row.error) == ("dead", "no destination of this name is configured")


@pytest.mark.parametrize("ticks_between", range(4))
async def test_a_lane_that_is_woken_and_stopped_in_one_moment_ends(ticks_between: int) -> None:
    """The cancellation is not lost to the event that came with it."""
    lane = Lane(MemoryState(), MemoryDestination("one"), FAST, lambda: "", None, Clock())
    running = asyncio.create_task(lane.run())
    while not lane._wake._waiters:  # noqa: ASYNC110 - until it has nothing to do and waits
        await asyncio.sleep(0)
    lane.wake()
    for _ in range(ticks_between):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    assert running in done
    assert running.cancelled()
