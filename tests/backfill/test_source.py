"""A listing as a source: order, positions, what the ledger knows, pace, and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from ingestd.backfill.listing import Entry, Listing, PrefixListing
from ingestd.backfill.pace import Pace
from ingestd.backfill.plan import Plan, moment, place
from ingestd.backfill.run import Order
from ingestd.backfill.source import ListingSource
from ingestd.backfill.tally import Tally
from ingestd.cli.backfill_bar import facts
from ingestd.errors import AttemptFailed, Permanent, Retryable
from ingestd.model import Delivery, Identity, ObjectRef
from ingestd.state import objects
from ingestd.state.base import Transaction
from ingestd.state.memory import MemoryState
from ingestd.stores.memory import MemoryStore


def identify(ref: ObjectRef) -> Identity:
    """As a store that knows from the listing."""
    return Identity(f"{ref.url}#{ref.etag}")


class Bucket:
    """A store with objects and sources that list it, all on one state."""

    def __init__(self, keys: int) -> None:
        self.store = MemoryStore()
        self.state = MemoryState()
        self.now = 1000.0
        for number in range(keys):
            self.store.put("b", f"k{number:04}", b"x" * number)

    def listing(self) -> Listing:
        """All of it."""
        return PrefixListing(self.store, Plan(place=place("memory://b/k")))

    def source(
        self, listing: Listing | None = None, *, objects_per_sec: float | None = None, listing_id: str = "test"
    ) -> ListingSource:
        """A new source; its clock is ours."""
        return ListingSource(
            "trail",
            listing or self.listing(),
            self.state,
            listing_id=listing_id,
            identify=identify,
            tally=Tally(),
            objects_per_sec=objects_per_sec,
            clock=lambda: self.now,
        )


def keys(deliveries: list[Delivery]) -> list[str]:
    """Keys that the messages name, in their order."""
    return [delivery.message_id.partition("#")[0].removeprefix("memory://b/") for delivery in deliveries]


async def everything(source: ListingSource) -> list[Delivery]:
    """All messages, unfinished."""
    found: list[Delivery] = []
    while some := await source.receive(7, 0.0):
        found += some
    return found


async def test_every_object_is_handed_out_once_in_order() -> None:
    """More pages than one; the end is an empty answer."""
    source = Bucket(1_200).source()
    assert keys(await everything(source)) == [f"k{number:04}" for number in range(1_200)]
    await source.close()


async def test_what_was_broken_off_goes_on_after_the_last_finished() -> None:
    """An object that is open holds the position back; what was finished behind it comes again."""
    bucket = Bucket(10)
    source = bucket.source()
    received = await everything(source)
    await source.ack([*received[:3], received[5]])
    await source.close()
    assert keys(await everything(bucket.source())) == [f"k{number:04}" for number in range(3, 10)]


async def test_the_position_is_noted_while_it_works() -> None:
    """A kill costs the last seconds, not the whole run."""
    bucket = Bucket(10)
    source = bucket.source()
    received = await everything(source)
    bucket.now += 60
    await source.ack(received[:4])
    assert keys(await everything(bucket.source()))[0] == "k0004"


async def test_a_listing_that_was_worked_through_begins_anew() -> None:
    """Later objects may lie anywhere in it."""
    bucket = Bucket(3)
    source = bucket.source()
    await source.ack(await everything(source))
    assert await source.receive(10, 0.0) == []
    await source.close()
    assert source.tally.is_complete
    assert len(await everything(bucket.source())) == 3


@pytest.mark.parametrize(("minutes", "first"), [(59, "k0004"), (61, "k-new")])
async def test_a_listing_that_was_left_for_an_hour_begins_anew(minutes: int, first: str) -> None:
    """What came since may lie before its position."""
    bucket = Bucket(10)
    source = bucket.source()
    await source.ack((await everything(source))[:4])
    await source.close()
    bucket.store.put("b", "k-new", b"x")
    bucket.now += minutes * 60
    assert keys(await everything(bucket.source()))[0] == first


@pytest.mark.parametrize(("since", "first"), [("1970-01-01", "k0004"), ("1d", "k0000")])
async def test_a_time_ago_is_another_listing_each_time(since: str, first: str) -> None:
    """The position was reached with another beginning, before which it left objects out."""
    bucket = Bucket(10)
    begun, resumed = (listing_id(since, datetime(2026, 1, 31, 12, second, tzinfo=UTC)) for second in (0, 1))
    source = bucket.source(listing_id=begun)
    await source.ack((await everything(source))[:4])
    await source.close()
    assert keys(await everything(bucket.source(listing_id=resumed)))[0] == first


def listing_id(since: str, now: datetime) -> str:
    """Of a backfill that is asked for at that time."""
    plan = Plan(place=place("memory://b/k"), since=moment(since, now))
    return Order(plan=plan, source="trail").listing_id


async def test_what_the_ledger_knows_is_not_handed_out() -> None:
    """No read, no claim: it only counts."""
    bucket = Bucket(600)
    refs = [bucket.store.put("b", f"k{number:04}", b"x" * number) for number in range(0, 600, 2)]

    def done(tx: Transaction) -> None:
        for ref in refs:
            identity = identify(ref)
            objects.add(tx, [objects.Wish(identity=identity, source="", url="", epoch=1)], now=0.0)
            tx.execute("UPDATE objects SET done = 1 WHERE identity = :identity", {"identity": identity})

    await bucket.state.transact(done)
    source = bucket.source()
    assert keys(await everything(source)) == [f"k{number:04}" for number in range(1, 600, 2)]
    assert source.tally.known_objects == 300
    await source.close()


async def test_what_was_given_back_comes_again_when_it_is_due() -> None:
    """Even when all else is handed out: the end is not before it."""
    bucket = Bucket(2)
    source = bucket.source()
    received = await everything(source)
    await source.nack(received[:1], 0.0)
    again = await source.receive(10, 0.0)
    assert keys(again) == ["k0000"]
    assert again[0].receive_count == 2
    await source.ack([*again, *received[1:]])
    assert await source.receive(10, 0.0) == []
    await source.close()


async def test_a_stop_is_heard_while_the_pace_makes_it_wait() -> None:
    """Whoever ends the backfill does not wait for the next object."""
    source = Bucket(3).source(objects_per_sec=0.01)
    assert len(await source.receive(10, 0.0)) == 1
    waiting = asyncio.create_task(source.receive(10, 0.0))
    await asyncio.sleep(0)
    source.stop()
    assert await waiting == []
    await source.close()
    assert not source.tally.is_complete


async def test_an_object_that_is_given_up_is_counted() -> None:
    """The reject is the caller's; the listing goes on."""
    bucket = Bucket(2)
    source = bucket.source()
    for delivery in await everything(source):
        await source.dead_letter(delivery, "forbidden", "")
    assert (source.tally.set_aside, source.tally.objects) == (2, 2)


async def test_no_more_than_the_pace_allows() -> None:
    """A second's worth at first, then as time passes."""
    bucket = Bucket(10)
    source = bucket.source(objects_per_sec=3)
    clock = [0.0]
    source._paces = (Pace(3, clock=lambda: clock[0]), Pace(None))
    assert len(await source.receive(10, 0.0)) == 3
    clock[0] += 0.7
    assert len(await source.receive(10, 0.0)) == 2


def test_a_pace_below_one_in_a_second_still_goes_on() -> None:
    """And a large amount is paid off before the next."""
    now = [0.0]
    pace = Pace(0.5, clock=lambda: now[0])
    assert pace.wait_secs() == 0
    pace.take(1)
    assert pace.wait_secs() == pytest.approx(2.0)
    now[0] += 2
    assert pace.wait_secs() == 0
    bytes_ = Pace(100, clock=lambda: now[0])
    bytes_.take(1_000)
    assert bytes_.wait_secs() == pytest.approx(9.01)


class Broken(Listing):
    """Fails as told after a few entries of each walk."""

    def __init__(self, whole: Listing, *errors: Exception) -> None:
        self.whole = whole
        self.errors = list(errors)

    async def walk(self, after: str = "") -> AsyncIterator[Entry]:
        """See `Listing`."""
        count = 0
        async for entry in self.whole.walk(after):
            if count == 3 and self.errors:
                raise self.errors.pop(0)
            count += 1
            yield entry


async def test_a_listing_that_fails_for_now_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out, nothing comes twice; the caller decides when to ask again."""
    bucket = Bucket(8)
    source = bucket.source(Broken(bucket.listing(), *[Retryable("503")] * 3))
    monkeypatch.setattr(source.tally, "count", _nothing)
    found: list[Delivery] = []
    failures = 0
    while True:
        try:
            if not (some := await source.receive(10, 0.0)):
                break
            found += some
        except Retryable:
            failures += 1
    assert failures == 3
    assert keys(found) == [f"k{number:04}" for number in range(8)]
    await source.close()


async def test_a_listing_that_is_refused_for_good_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries, as policies take effect late; the reason is told."""
    bucket = Bucket(8)
    refusals = [AttemptFailed("s3:ListBucket is missing", reason="forbidden")] * 9
    source = bucket.source(Broken(bucket.listing(), *refusals))
    monkeypatch.setattr(source.tally, "count", _nothing)
    for _ in range(4):
        with pytest.raises(Retryable):
            await source.receive(10, 0.0)
    with pytest.raises(Permanent, match="s3:ListBucket is missing"):
        await source.receive(10, 0.0)
    assert "s3:ListBucket" in source.tally.failure
    await source.close()


async def _nothing(*_: object) -> None:
    """In the place of counting, which walks too."""


async def test_a_state_that_fails_loses_no_page() -> None:
    """The page is listed again."""
    bucket = Bucket(8)
    source = bucket.source()
    read = bucket.state.read
    fails = [True]

    async def failing(work: object) -> object:
        if fails.pop() if fails else False:
            raise Retryable("locked")
        return await read(work)  # type: ignore[arg-type]

    bucket.state.read = failing  # type: ignore[assignment,method-assign]
    with pytest.raises(Retryable):
        await source.receive(10, 0.0)
    assert len(await everything(source)) == 8
    await source.close()


async def test_the_rest_is_known_once_counted() -> None:
    """For the bar and for scaling: objects, bytes and the time left."""
    now = [0.0]
    bucket = Bucket(10)
    tally = Tally(clock=lambda: now[0])
    await tally.count(bucket.listing())
    assert (tally.total_objects, tally.total_bytes, tally.seconds_left) == (10, 45, None)
    now[0] = 10.0
    for size in range(5):
        tally.finished(size)
    assert tally.waiting == 5
    assert tally.seconds_left == pytest.approx(35.0)  # by bytes: 10 of 45 in ten seconds


def test_the_bar_says_what_is_known_by_then() -> None:
    """First only what was listed, then the total, and in the end how long the rest takes."""
    now = [0.0]
    tally = Tally(clock=lambda: now[0])
    tally.total_objects = 2
    assert facts(tally) == "0 bytes, 2 listed so far"
    tally.total_objects, tally.total_bytes, tally.is_counted = 4, 4_000, True
    tally.known(1_000)
    tally.finished(1_000)
    tally.set_aside = 1
    now[0] = 60.0
    assert facts(tally) == "2.0 kB of 4.0 kB, 1 known, 1 set aside, 0:02:00 left"


async def test_closing_ends_what_is_under_way() -> None:
    """A page that never comes does not hold the end up."""
    bucket = Bucket(1)

    class Endless(Listing):
        async def walk(self, after: str = "") -> AsyncIterator[Entry]:
            await asyncio.Event().wait()
            yield Entry("", ObjectRef(store="memory", bucket="b", key="k"))

    source = bucket.source(Endless())
    receiving = asyncio.create_task(source.receive(1, 0.0))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await source.close()
    await source.close()
