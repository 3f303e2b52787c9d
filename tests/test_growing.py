"""Objects that are still appended to: due again and again, until the last look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from ingestd.errors import Retryable
from ingestd.growing import GrowingSource
from ingestd.ledger import Ledger
from ingestd.model import ObjectRef
from ingestd.sources.memory import MemorySource
from ingestd.state.memory import MemoryState

REF = ObjectRef(store="az", bucket="logs", key="c/PT1H.json", etag="appended-1", size=7)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of everything."""
    return Clock()


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """What the ledger stands on."""
    made = MemoryState()
    yield made
    await made.close()


@pytest.fixture
async def ledger(state: MemoryState, clock: Clock) -> AsyncIterator[Ledger]:
    """A ledger in memory."""
    made = await Ledger.open(state, None, clock=clock)
    yield made
    await made.close()


@pytest.fixture
def queue(clock: Clock) -> MemorySource:
    """The queue that the objects stand beside."""
    return MemorySource("entra", clock=clock)


@pytest.fixture
def source(queue: MemorySource, ledger: Ledger, clock: Clock) -> GrowingSource:
    """The queue with the objects."""
    return GrowingSource(queue, ledger, clock=clock)


async def test_an_object_is_due_in_its_time_and_unpinned(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """As a message that names it, and nothing of the content it had."""
    await ledger.follow("entra", REF, 60.0)
    assert await source.receive(10, 0) == []
    clock.now += 60
    (due,) = await source.receive(10, 0)
    assert json.loads(due.body) == {"objects": [{"store": "az", "bucket": "logs", "key": "c/PT1H.json"}]}


async def test_an_object_stands_beside_messages(
    source: GrowingSource, queue: MemorySource, ledger: Ledger, clock: Clock
) -> None:
    """Within one limit; each is acknowledged and given back where it came from."""
    await ledger.follow("entra", REF, 60.0)
    for name in (b"a", b"b"):
        queue.put(name)
    clock.now += 60
    received = await source.receive(2, 5)
    assert [len(received), received[1].body] == [2, b"a"]
    extended = await source.extend(received, 300)
    assert {d.message_id for d in extended} == {d.message_id for d in received}
    await source.ack(extended)
    assert queue.acked == [received[1].message_id]
    assert [d.body for d in await source.receive(10, 0)] == [b"b"]


async def test_objects_are_handed_out_while_the_queue_cannot_be_asked(
    source: GrowingSource, queue: MemorySource, ledger: Ledger, clock: Clock
) -> None:
    """They are taken, and due to nobody else until their lease is over; without any, the queue's trouble is told."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    queue.fail_next["receive"] = 2
    assert len(await source.receive(10, 0)) == 1
    with pytest.raises(Retryable):
        await source.receive(10, 0)


async def test_leases_of_messages_are_extended_while_the_ledger_cannot_be_asked(
    source: GrowingSource, queue: MemorySource, ledger: Ledger, state: MemoryState, clock: Clock
) -> None:
    """The queue's fresh receipts are answered, and the objects with the lease they had."""
    await ledger.follow("entra", REF, 60.0)
    queue.put(b"a")
    clock.now += 60
    growing, message = await source.receive(10, 0)
    clock.now += 10
    state.fail_before_commit = 1
    extended = {one.message_id: one.lease_until for one in await source.extend([growing, message], 300)}
    assert extended == {growing.message_id: growing.lease_until, message.message_id: clock.now + 300}


async def test_leases_of_objects_are_extended_while_the_queue_cannot_be_asked(
    source: GrowingSource, queue: MemorySource, ledger: Ledger, clock: Clock
) -> None:
    """Nobody else may look at them meanwhile."""
    await ledger.follow("entra", REF, 60.0)
    queue.put(b"a")
    clock.now += 60
    received = await source.receive(10, 0)
    queue.fail_next["extend"] = 1
    clock.now += 50
    with pytest.raises(Retryable):
        await source.extend(received, 300)
    clock.now += 50
    assert all(one.message_id != received[0].message_id for one in await source.receive(10, 0))


async def test_what_is_held_is_due_to_nobody_else(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """Until its holder died; extended while it lives."""
    other = GrowingSource(MemorySource("entra"), ledger, clock=clock)
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    held = await source.receive(10, 0)
    assert await other.receive(10, 0) == []
    clock.now += 50
    await source.extend(held, 30)
    clock.now += 50
    assert await other.receive(10, 0) == []
    clock.now += 11
    assert [due.receive_count for due in await other.receive(10, 0)] == [2]


async def test_after_a_look_it_is_due_again(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """With its count begun anew: only looks that fail add up."""
    await ledger.follow("entra", REF, 60.0)
    for _ in range(3):
        clock.now += 60
        held = await source.receive(10, 0)
        assert [due.receive_count for due in held] == [1]
        await source.ack(held)
        assert await source.receive(10, 0) == []


async def test_what_is_given_back_is_due_after_the_delay(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """As with a queue."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    await source.nack(await source.receive(10, 0), 5)
    assert await source.receive(10, 0) == []
    clock.now += 5
    assert len(await source.receive(10, 0)) == 1


async def test_the_last_look_ends_it(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """Only when that look is acknowledged; a daemon that dies before looks again."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    held = await source.receive(10, 0)
    await ledger.follow("entra", REF, 0.0)
    clock.now += 120
    assert len(await source.receive(10, 0)) == 1
    await source.ack(held)
    clock.now += 3600
    assert await source.receive(10, 0) == []


async def test_a_closed_object_is_not_followed_at_all(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """It was read to its end at once."""
    await ledger.follow("entra", REF, 0.0)
    clock.now += 3600
    assert await source.receive(10, 0) == []


async def test_what_failed_for_good_is_looked_at_again_after_an_hour(
    source: GrowingSource, queue: MemorySource, ledger: Ledger, clock: Clock
) -> None:
    """No message is left to tell of what is appended when the reason is gone; its attempts begin anew."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    (due,) = await source.receive(10, 0)
    await ledger.message_failed("entra", due.message_id, "forbidden")
    await source.dead_letter(due, "forbidden", "not allowed")
    clock.now += 3599
    assert await source.receive(10, 0) == []
    clock.now += 1
    assert [again.message_id for again in await source.receive(10, 0)] == [due.message_id]
    assert await ledger.message_failed("entra", due.message_id, "forbidden") == 1
    assert queue.dead_letters == []


async def test_what_is_gone_is_followed_no_more(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """It does not grow again."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    (due,) = await source.receive(10, 0)
    await source.dead_letter(due, "not_found", "no such blob")
    clock.now += 100_000
    assert await source.receive(10, 0) == []


async def test_looks_do_not_use_up_what_a_message_may_be_received(
    source: GrowingSource, ledger: Ledger, clock: Clock
) -> None:
    """A look that finds the object busy is counted too, and nothing else knows of what is appended later."""
    source.max_receives = 2
    await ledger.follow("entra", REF, 60.0)
    clock.now += 60
    counts = []
    for _ in range(4):
        (due,) = await source.receive(10, 0)
        counts.append(due.receive_count)
        await source.nack([due], 2)
        clock.now += 2
    assert counts == [1, 2, 2, 2]


async def test_each_source_follows_its_own(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """Two queues may tell of one object, under other routes."""
    await ledger.follow("other", REF, 60.0)
    clock.now += 60
    assert await source.receive(10, 0) == []


async def test_what_nobody_takes_is_forgotten(source: GrowingSource, ledger: Ledger, clock: Clock) -> None:
    """Its source was taken out of the configuration."""
    await ledger.follow("entra", REF, 60.0)
    clock.now += 3600
    assert await ledger.sweep(7200) == 0
    clock.now += 7200
    assert await ledger.sweep(7200) == 1
    assert await source.receive(10, 0) == []
