"""The ledger: who may read an object, what is committed, and what happens when a daemon dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ingestd.errors import BatchRefused, Permanent, Retryable
from ingestd.ledger import Claim, Ledger
from ingestd.model import BatchPlan, FinishedObject, Growth, ObjectRange, PlannedFile
from ingestd.state.memory import MemoryState
from tests.ledgers import Clock, crash

A = "s3://bucket/a.json.gz#etag-a"
B = "s3://bucket/b.json.gz#etag-b"
MESSAGE = "message:projects/p/subscriptions/s/17"

OpenLedger = Callable[[], Awaitable[Ledger]]


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """An empty state."""
    state = MemoryState()
    yield state
    await state.close()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
async def open_ledger(state: MemoryState, clock: Clock, tmp_path: Path) -> AsyncIterator[OpenLedger]:
    """Opens one more daemon's ledger on the state."""
    ledgers: list[Ledger] = []

    async def open_one() -> Ledger:
        ledgers.append(await Ledger.open(state, tmp_path / "instances", clock=clock))
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        await ledger.close()


@pytest.fixture
async def ledger(open_ledger: OpenLedger) -> Ledger:
    """The ledger of one daemon."""
    return await open_ledger()


def claim(ledger: Ledger, identity: str) -> Awaitable[Claim]:
    """Claim as a pipeline does."""
    return ledger.claim(identity, source="trail", url=identity.partition("#")[0])


def plan(batch_id: str, *ranges: tuple[str, int, int], finished: dict[str, int] | None = None) -> BatchPlan:
    """A batch with one file."""
    return BatchPlan(
        batch_id=batch_id,
        ranges=tuple(ObjectRange(identity=identity, first=first, end=end) for identity, first, end in ranges),
        finished=tuple(
            FinishedObject(identity=identity, records=records, framing="lines", stored_bytes=100 * records)
            for identity, records in (finished or {}).items()
        ),
        files=(PlannedFile(staging=f"staging/{batch_id}", final=f"events/{batch_id}", table="events", rows=1),),
    )


async def commit(ledger: Ledger, batch: BatchPlan) -> bool:
    """The way of a batch without trouble."""
    await ledger.prepare(batch)
    committed = await ledger.commit(batch.batch_id)
    await ledger.published(batch.batch_id)
    return committed


# --- claims ---


async def test_an_object_is_read_by_one_at_a_time(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Until it is given back, a claimed object is busy for another task and for another daemon."""
    other = await open_ledger()
    assert (await claim(ledger, A)).status == "granted"
    assert (await claim(ledger, A)).status == "busy"
    assert (await claim(other, A)).status == "busy"
    assert (await claim(other, B)).status == "granted"
    await ledger.release(A)
    assert (await claim(other, A)).status == "granted"


async def test_of_many_simultaneous_claims_one_is_granted(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """However the requests interleave, one daemon's one task gets the object."""
    other = await open_ledger()
    answers = await asyncio.gather(*(claim((ledger, other)[n % 2], A) for n in range(20)))
    assert sorted(answer.status for answer in answers) == ["busy"] * 19 + ["granted"]


async def test_releasing_counts_nothing_and_may_be_repeated(ledger: Ledger) -> None:
    """A release without a claim, or a second one, does nothing."""
    await ledger.release(A)
    await claim(ledger, A)
    await ledger.release(A)
    await ledger.release(A)
    assert await claim(ledger, A) == Claim(status="granted", identity=A)


async def test_a_release_that_the_state_refuses_is_made_up_for(
    ledger: Ledger, open_ledger: OpenLedger, state: MemoryState
) -> None:
    """Giving back never raises; the claim ends with the next renewal."""
    other = await open_ledger()
    await claim(ledger, A)
    state.fail_before_commit = 1
    await ledger.release(A)
    assert (await claim(other, A)).status == "busy"
    await ledger.renew()
    assert (await claim(other, A)).status == "granted"


@pytest.mark.parametrize("knob", ["fail_before_commit", "fail_after_commit"])
async def test_a_claim_whose_answer_was_lost_blocks_nobody(
    knob: str, ledger: Ledger, open_ledger: OpenLedger, state: MemoryState
) -> None:
    """The same daemon may claim again at once, and another one after the next renewal."""
    other = await open_ledger()
    setattr(state, knob, 1)
    with pytest.raises(Retryable):
        await claim(ledger, A)
    assert (await claim(ledger, A)).status == "granted"
    await ledger.release(A)
    setattr(state, knob, 1)
    with pytest.raises(Retryable):
        await claim(ledger, A)
    await ledger.renew()
    assert (await claim(other, A)).status == "granted"


async def test_messages_that_name_no_object_are_counted_too(ledger: Ledger) -> None:
    """By source and message id, until forgotten."""
    assert [await ledger.message_failed("trail", "m1", "not JSON") for _ in range(3)] == [1, 2, 3]
    assert await ledger.message_failed("other", "m1", "not JSON") == 1
    await ledger.forget_message("trail", "m1")
    assert await ledger.message_failed("trail", "m1", "not JSON") == 1


async def test_an_identity_that_is_no_unicode_is_refused(ledger: Ledger) -> None:
    """Half a surrogate pair in a name is the object's own mistake and disturbs nobody."""
    with pytest.raises(Permanent) as raised:
        await claim(ledger, "s3://bucket/\ud800#e")
    assert raised.value.reason == "bad_name"


# --- batches ---


async def test_an_object_is_done_when_all_its_ordinals_are_committed(ledger: Ledger) -> None:
    """Not before, in whatever order the batches come; then nobody reads it again."""
    await claim(ledger, A)
    await ledger.prepare(plan("first", (A, 0, 10)))
    await ledger.prepare(plan("second", (A, 10, 15), finished={A: 15}))
    assert await ledger.commit("second")
    await ledger.release(A)
    assert (await claim(ledger, A)).status == "busy"
    assert await ledger.commit("first")
    assert await claim(ledger, A) == Claim(status="done", identity=A, framing="lines", total=15)


async def test_a_second_reader_skips_what_is_committed(ledger: Ledger) -> None:
    """The claim tells the committed ordinals in merged ranges."""
    await claim(ledger, A)
    for n in (0, 1, 2, 5):
        await commit(ledger, plan(f"b{n}", (A, 10 * n, 10 * n + 10)))
    await ledger.release(A)
    assert (await claim(ledger, A)).skip == ((0, 30), (50, 60))


async def test_an_object_in_a_thousand_batches_is_one_range(ledger: Ledger) -> None:
    """Ranges are merged at each commit."""
    await claim(ledger, A)
    for n in range(1_000):
        await commit(ledger, plan(f"b{n}", (A, n, n + 1)))
    await ledger.release(A)
    assert (await claim(ledger, A)).skip == ((0, 1_000),)


async def test_an_object_without_records_is_done_too(ledger: Ledger) -> None:
    """Nothing to commit but its end."""
    await claim(ledger, A)
    assert await commit(ledger, plan("b", finished={A: 0}))
    assert (await claim(ledger, A)).status == "done"


async def test_an_object_whose_end_was_not_seen_is_finished_by_a_reader_who_skips_all(ledger: Ledger) -> None:
    """All rows are committed, but not that it is all: the next reader adds only that."""
    await claim(ledger, A)
    await commit(ledger, plan("b", (A, 0, 5)))
    await ledger.release(A)
    assert (await claim(ledger, A)).skip == ((0, 5),)
    await commit(ledger, plan("end", finished={A: 5}))
    assert (await claim(ledger, A)).status == "done"


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (plan("x", (A, 5, 15)), "committed"),
        (plan("x", (A, 25, 26)), "another batch"),
        (plan("x", (A, 40, 50), (A, 49, 51)), "twice"),
        (plan("x", (A, 40, 50), ("s3://bucket/unknown#e", 0, 1)), "not claimed"),
        (plan("x", finished={"s3://bucket/unknown#e": 0}), "not claimed"),
    ],
)
async def test_a_batch_with_ordinals_that_are_taken_is_refused(ledger: Ledger, batch: BatchPlan, why: str) -> None:
    """The error names the object and the reason; nothing of the batch is marked."""
    await claim(ledger, A)
    await commit(ledger, plan("committed", (A, 0, 10)))
    await ledger.prepare(plan("prepared", (A, 20, 30)))
    with pytest.raises(BatchRefused, match=why) as raised:
        await ledger.prepare(batch)
    assert list(raised.value.identities) == [batch.ranges[-1].identity if batch.ranges else "s3://bucket/unknown#e"]
    assert not await ledger.commit("x")
    await ledger.prepare(plan("y", (A, 40, 51)))


async def test_a_batch_of_an_object_given_back_is_refused(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Rows that were still on their way when the claim ended do not get in."""
    other = await open_ledger()
    await claim(ledger, A)
    await claim(ledger, B)
    await ledger.release(A)
    await claim(other, A)
    with pytest.raises(BatchRefused) as raised:
        await ledger.prepare(plan("b", (A, 0, 5), (B, 0, 5)))
    assert list(raised.value.identities) == [A]
    await ledger.prepare(plan("b2", (B, 0, 5)))


MANY = [f"s3://bucket/{n:04}#e" for n in range(1_000)]


def of_many(batch_id: str) -> BatchPlan:
    """A batch of more objects than one query takes."""
    return plan(batch_id, *((one, 0, 3) for one in MANY), finished=dict.fromkeys(MANY, 3))


async def test_a_batch_of_a_thousand_objects_is_committed_whole(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Every one of them is done, for every daemon."""
    other = await open_ledger()
    await asyncio.gather(*(claim(ledger, one) for one in MANY))
    assert await commit(ledger, of_many("b"))
    answers = await asyncio.gather(*(claim(other, one) for one in MANY))
    assert answers == [Claim(status="done", identity=one, framing="lines", total=3) for one in MANY]


async def test_every_object_in_the_way_is_named(ledger: Ledger) -> None:
    """Of a thousand, those that are not claimed, committed and in another batch; the rest gets in without them."""
    await asyncio.gather(*(claim(ledger, one) for one in MANY))
    for one in MANY[::100]:
        await ledger.release(one)
    await commit(ledger, plan("committed", *((one, 1, 2) for one in MANY[50::100])))
    await ledger.prepare(plan("prepared", *((one, 2, 4) for one in MANY[99::100])))
    with pytest.raises(BatchRefused) as raised:
        await ledger.prepare(of_many("b"))
    assert set(raised.value.identities) == {*MANY[::100], *MANY[50::100], *MANY[99::100]}
    left = [one for one in MANY if one not in raised.value.identities]
    assert await commit(ledger, plan("c", *((one, 0, 3) for one in left), finished=dict.fromkeys(left, 3)))


async def test_aborting_a_batch_frees_all_of_its_objects(ledger: Ledger) -> None:
    """However many there are, the next batch may have them."""
    await asyncio.gather(*(claim(ledger, one) for one in MANY))
    await ledger.prepare(of_many("b"))
    assert await ledger.abort("b")
    assert await commit(ledger, of_many("c"))


async def test_every_step_of_a_batch_may_be_repeated(ledger: Ledger, state: MemoryState) -> None:
    """A caller whose answer was lost says the same again and gets the answer."""
    await claim(ledger, A)
    batch = plan("b", (A, 0, 5), finished={A: 5})
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: ledger.prepare(batch),
        lambda: ledger.commit("b"),
        lambda: ledger.published("b"),
    ]
    for step, expected in zip(steps, (None, True, None), strict=True):
        state.fail_after_commit = 1
        with pytest.raises(Retryable):
            await step()
        assert await step() == expected
        assert await step() == expected
    assert await ledger.commit("b")
    assert not await ledger.abort("b")
    assert (await claim(ledger, A)).status == "done"


async def test_an_aborted_batch_cannot_be_committed(ledger: Ledger) -> None:
    """Abort and commit exclude each other; the ordinals of the aborted batch are free."""
    await claim(ledger, A)
    await ledger.prepare(plan("b", (A, 0, 5)))
    assert await ledger.abort("b")
    assert await ledger.abort("b")
    assert not await ledger.commit("b")
    with pytest.raises(BatchRefused, match="aborted"):
        await ledger.prepare(plan("b", (A, 0, 5)))
    assert await commit(ledger, plan("c", (A, 0, 5), finished={A: 5}))


# --- growth ---


async def test_a_grown_object_goes_on_where_it_was_left(ledger: Ledger) -> None:
    """What starts with a finished object's content begins at its end, under its own identity."""
    old, new, url = "file:/in/a.log#1", "file:/in/a.log#2", "file:///in/a.log"
    assert await ledger.growth(url) is None
    await ledger.claim(old, source="inbox", url=url, may_grow=True)
    await commit(ledger, plan("b1", (old, 0, 7), finished={old: 7}))
    assert await ledger.growth(url) == Growth(identity=old, size=700, records=7)
    answer = await ledger.claim(new, source="inbox", url=url, may_grow=True, grown_from=old)
    assert answer.skip == ((0, 7),)
    assert answer.framing == "lines"
    await commit(ledger, plan("b2", (new, 7, 9), finished={new: 9}))
    assert (await ledger.claim(new, source="inbox", url=url)).status == "done"
    assert await ledger.growth(url) == Growth(identity=new, size=900, records=9)


async def test_a_grown_object_that_was_interrupted_goes_on_too(ledger: Ledger) -> None:
    """Committed ordinals of both are skipped."""
    old, new = "file:/in/a.log#1", "file:/in/a.log#2"
    await claim(ledger, old)
    await commit(ledger, plan("b1", (old, 0, 7), finished={old: 7}))
    await ledger.claim(new, source="inbox", url="u", grown_from=old)
    await commit(ledger, plan("b2", (new, 7, 8)))
    await ledger.release(new)
    answer = await ledger.claim(new, source="inbox", url="u", grown_from=old)
    assert answer.skip == ((0, 8),)


async def test_an_object_that_grows_under_its_identity_is_opened_again(ledger: Ledger) -> None:
    """An append blob: done, then grown, then done again; not done as long as its new end is not committed."""
    await claim(ledger, A)
    await commit(ledger, plan("b1", (A, 0, 7), finished={A: 7}))
    assert (await claim(ledger, A)).status == "done"
    answer = await ledger.claim(A, source="trail", url="u", grown_from=A)
    assert (answer.status, answer.skip) == ("granted", ((0, 7),))
    await commit(ledger, plan("b2", (A, 7, 8)))
    await ledger.release(A)
    assert (await claim(ledger, A)).status == "granted"
    await commit(ledger, plan("b3", (A, 8, 9), finished={A: 9}))
    assert (await claim(ledger, A)).status == "done"


async def test_a_grown_object_waits_for_the_reader_of_the_old_one(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """While somebody still reads or commits the shorter content, the longer one is busy."""
    other = await open_ledger()
    await claim(ledger, A)
    assert (await other.claim(B, source="trail", url="u", grown_from=A)).status == "busy"


async def test_a_last_record_without_a_terminator_is_read_again_when_the_object_grows(ledger: Ledger) -> None:
    """What was appended may have continued it: as a whole it is another record, of the grown identity."""
    await ledger.claim(A, source="trail", url="u", may_grow=True)
    finished = FinishedObject(identity=A, records=7, framing="lines", stored_bytes=700, tail_open=True)
    ranges = (ObjectRange(identity=A, first=0, end=7),)
    await commit(ledger, BatchPlan(batch_id="b", ranges=ranges, finished=(finished,)))
    answer = await ledger.claim(B, source="trail", url="u", grown_from=A)
    assert answer.skip == ((0, 6),)


async def test_what_was_read_in_part_goes_on_when_the_object_grows(ledger: Ledger) -> None:
    """A daemon died in the middle: what it had committed of the shorter content counts for the longer one."""
    await ledger.claim(A, source="inbox", url="u", may_grow=True, stored_bytes=700)
    assert await ledger.growth("u") is None
    part = ObjectRange(identity=A, first=0, end=5, framing="json_array")
    await commit(ledger, BatchPlan(batch_id="b1", ranges=(part,)))
    await ledger.release(A)
    assert await ledger.growth("u") == Growth(identity=A, size=700)
    answer = await ledger.claim(B, source="inbox", url="u", may_grow=True, stored_bytes=900, grown_from=A)
    assert (answer.skip, answer.framing, answer.total) == (((0, 5),), "json_array", None)
    assert await ledger.growth("u") == Growth(identity=B, size=900)


async def test_an_open_end_that_was_committed_before_the_object_was_finished_is_read_again(ledger: Ledger) -> None:
    """The batch that holds the last record may be the last thing that a daemon does."""
    await ledger.claim(A, source="inbox", url="u", may_grow=True, stored_bytes=700)
    part = ObjectRange(identity=A, first=0, end=5, framing="lines", tail_open=True)
    await commit(ledger, BatchPlan(batch_id="b1", ranges=(part,)))
    await ledger.release(A)
    answer = await ledger.claim(B, source="inbox", url="u", may_grow=True, stored_bytes=900, grown_from=A)
    assert answer.skip == ((0, 4),)


async def test_a_framing_that_counted_nothing_binds_nobody(ledger: Ledger) -> None:
    """All that was seen was the beginning of a mark: the whole object may be something else."""
    await ledger.claim(A, source="inbox", url="u", may_grow=True, stored_bytes=2)
    finished = FinishedObject(identity=A, records=1, framing="lines", stored_bytes=2, tail_open=True)
    ranges = (ObjectRange(identity=A, first=0, end=1),)
    await commit(ledger, BatchPlan(batch_id="b", ranges=ranges, finished=(finished,)))
    answer = await ledger.claim(B, source="inbox", url="u", may_grow=True, stored_bytes=9, grown_from=A)
    assert (answer.skip, answer.framing) == ((), None)


async def test_a_grown_object_waits_for_the_reader_of_the_old_one_in_the_same_daemon(ledger: Ledger) -> None:
    """Two sources may have the same folder."""
    await claim(ledger, A)
    assert (await ledger.claim(B, source="other", url="u", grown_from=A)).status == "busy"
    await ledger.release(A)
    assert (await ledger.claim(B, source="other", url="u", grown_from=A)).status == "granted"


# --- messages that are events ---


async def test_a_finished_message_is_done_for_the_window_and_then_forgotten(
    ledger: Ledger, open_ledger: OpenLedger, clock: Clock
) -> None:
    """Every daemon knows it for an hour, also one that starts later; afterwards the lake's compaction sees to it."""
    other = await open_ledger()
    assert (await claim(other, MESSAGE + "0")).status == "granted"
    await claim(ledger, MESSAGE)
    await commit(ledger, plan("b", (MESSAGE, 0, 1), finished={MESSAGE: 1}))
    third = await open_ledger()
    for one in (ledger, other, third):
        assert (await claim(one, MESSAGE)).status == "done"
    clock.advance(3700.0)
    await ledger.sweep(30 * 86400.0)
    fourth = await open_ledger()
    assert (await claim(fourth, MESSAGE)).status == "granted"


async def test_a_message_leaves_ten_bytes_behind(ledger: Ledger, state: MemoryState) -> None:
    """One compact row per batch remains of its messages."""
    identities = [f"{MESSAGE}{n}" for n in range(100)]
    await asyncio.gather(*(claim(ledger, identity) for identity in identities))
    await commit(ledger, plan("b", *((i, 0, 1) for i in identities), finished=dict.fromkeys(identities, 1)))
    assert await state.read(lambda tx: tx.execute("SELECT count(*) FROM objects")) == [(0,)]
    assert await state.read(lambda tx: tx.execute("SELECT length(digests) FROM finished_messages")) == [(1000,)]


async def test_a_message_is_read_by_one_at_a_time(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """A redelivery that meets the first is busy, wherever it arrives."""
    other = await open_ledger()
    await claim(ledger, MESSAGE)
    assert (await claim(other, MESSAGE)).status == "busy"


async def test_a_message_of_several_batches_is_done_after_the_last(ledger: Ledger) -> None:
    """Its rows so far are skipped when it is read again."""
    await claim(ledger, MESSAGE)
    await commit(ledger, plan("b1", (MESSAGE, 0, 3)))
    await ledger.release(MESSAGE)
    assert (await claim(ledger, MESSAGE)).skip == ((0, 3),)
    await commit(ledger, plan("b2", (MESSAGE, 3, 5), finished={MESSAGE: 5}))
    assert (await claim(ledger, MESSAGE)).status == "done"


# --- dead daemons ---


async def test_a_dead_daemons_claims_are_free_at_once(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """The lock tells: nobody waits for a lease."""
    other = await open_ledger()
    await claim(ledger, A)
    crash(ledger)
    assert (await claim(other, A)).status == "granted"


async def test_a_dead_daemons_prepared_batch_is_aborted(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Nothing of it was visible; its ordinals are read again."""
    other = await open_ledger()
    await claim(ledger, A)
    await ledger.prepare(plan("b", (A, 0, 5)))
    crash(ledger)
    assert await other.recover() == []
    assert not await ledger.commit("b")
    assert (await claim(other, A)).skip == ()


async def test_a_dead_daemons_committed_batch_is_handed_to_one_other(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Exactly one gets the plan and publishes it; its ordinals count as committed for everyone."""
    others = [await open_ledger() for _ in range(3)]
    await claim(ledger, A)
    batch = plan("b", (A, 0, 5))
    await ledger.prepare(batch)
    await ledger.commit("b")
    crash(ledger)
    found = await asyncio.gather(*(other.recover() for other in others))
    assert sorted(map(len, found)) == [0, 0, 1]
    assert [one for some in found for one in some] == [batch]
    assert (await claim(others[0], A)).skip == ((0, 5),)
    await others[0].published("b")
    assert await others[1].recover() == []


async def test_a_daemon_that_restarts_finds_its_own_batches(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Its former self is one of the dead; also after an orderly end with files not published."""
    await claim(ledger, A)
    await ledger.prepare(plan("b", (A, 0, 5)))
    await ledger.commit("b")
    await ledger.close()
    again = await open_ledger()
    assert [one.batch_id for one in await again.recover()] == ["b"]


async def test_batches_of_the_living_are_left_alone(ledger: Ledger, open_ledger: OpenLedger) -> None:
    """Recovery touches neither what they prepared nor what they are publishing."""
    other = await open_ledger()
    await claim(ledger, A)
    await ledger.prepare(plan("b", (A, 0, 5)))
    await ledger.prepare(plan("c", (A, 5, 6)))
    await ledger.commit("c")
    assert await other.recover() == []
    assert await ledger.commit("b")


async def test_a_daemon_asleep_for_long_loses_its_claims(
    ledger: Ledger, open_ledger: OpenLedger, clock: Clock
) -> None:
    """Another takes its place; when it wakes up, nothing that it had prepared counts, and it goes on afresh."""
    other = await open_ledger()
    await claim(ledger, A)
    await claim(ledger, B)
    await ledger.prepare(plan("b", (A, 0, 5)))
    clock.advance(7 * 60.0)
    await other.renew()
    assert (await claim(other, A)).status == "granted"
    with pytest.raises(BatchRefused, match="taken for dead"):
        await ledger.prepare(plan("c", (B, 0, 5)))
    assert not await ledger.commit("b")
    await ledger.renew()
    assert (await claim(ledger, A)).status == "busy"
    assert (await claim(ledger, B)).status == "granted"
    assert await commit(ledger, plan("d", (B, 0, 5)))


async def test_a_daemon_that_could_not_renew_for_a_while_keeps_its_claims(
    ledger: Ledger, open_ledger: OpenLedger, clock: Clock
) -> None:
    """Its lock is held: it lives."""
    other = await open_ledger()
    await claim(ledger, A)
    clock.advance(2 * 60.0)
    await other.renew()
    assert (await claim(other, A)).status == "busy"
    assert await commit(ledger, plan("b", (A, 0, 5)))


async def test_without_locks_the_lease_decides(state: MemoryState, clock: Clock) -> None:
    """On several hosts a daemon is dead when its lease is over, and only then."""
    ledger, other = [await Ledger.open(state, None, clock=clock) for _ in range(2)]
    await claim(ledger, A)
    clock.advance(40.0)
    await other.renew()
    assert (await claim(other, A)).status == "busy"
    clock.advance(21.0)
    assert (await claim(other, A)).status == "granted"
    await ledger.close()
    await other.close()


async def test_a_lost_lock_file_is_no_death_certificate(
    ledger: Ledger, open_ledger: OpenLedger, tmp_path: Path, clock: Clock
) -> None:
    """Somebody tidied the folder: then the lease decides."""
    other = await open_ledger()
    await claim(ledger, A)
    for file in list((tmp_path / "instances").iterdir()):
        file.unlink()
    assert (await claim(other, A)).status == "busy"
    clock.advance(61.0)
    assert (await claim(other, A)).status == "granted"


async def test_closing_frees_the_claims(ledger: Ledger, open_ledger: OpenLedger, tmp_path: Path) -> None:
    """An orderly end leaves neither claims nor prepared batches nor a lock file; it may be repeated."""
    other = await open_ledger()
    await claim(ledger, A)
    await ledger.prepare(plan("b", (A, 0, 5)))
    await ledger.close()
    await ledger.close()
    assert (await claim(other, A)).status == "granted"
    assert not await other.commit("b")
    assert len(list((tmp_path / "instances").iterdir())) == 1


async def test_trouble_with_the_lease_is_visible(state: MemoryState, clock: Clock, tmp_path: Path) -> None:
    """While the state cannot be reached the ledger says why, and afterwards that all is well."""
    ledger = await Ledger.open(state, tmp_path, lease_secs=0.004, clock=clock)
    async with asyncio.timeout(10.0):
        state.fail_before_commit = 1_000_000
        while "failed before the commit" not in ledger.trouble:  # noqa: ASYNC110 - the ledger signals nothing
            await asyncio.sleep(0.001)
        state.fail_before_commit = 0
        while ledger.trouble:  # noqa: ASYNC110 - the ledger signals nothing
            await asyncio.sleep(0.001)
    await ledger.close()


# --- retention ---


async def test_sweeping_forgets_the_old_and_keeps_the_rest(
    ledger: Ledger, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was touched within the retention, is being read or waits in a batch stays; in steps of bounded size."""
    monkeypatch.setattr("ingestd.ledger.SWEEP_ROWS", 3)
    for n in range(10):
        await claim(ledger, f"{A}{n}")
        await commit(ledger, plan(f"b{n}", (f"{A}{n}", 0, 1), finished={f"{A}{n}": 1}))
    await ledger.message_failed("trail", "m1", "not JSON")
    await claim(ledger, "s3://bucket/being-read#e")
    clock.advance(86400.0)
    await ledger.renew()
    await claim(ledger, B)
    await commit(ledger, plan("new", (B, 0, 1), finished={B: 1}))
    assert await ledger.sweep(3600.0) == 10 + 10 + 1
    rows = await state.read(lambda tx: tx.execute("SELECT identity FROM objects ORDER BY identity"))
    assert rows == [(B,), ("s3://bucket/being-read#e",)]
    assert await ledger.sweep(3600.0) == 0
