"""The rules' key-value store: durable, atomic, and the same answers when a record is evaluated again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.alerts import recorder
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing
from ingestd.detections.kv import Item, MemoryStore, Request
from ingestd.errors import Permanent, Retryable
from ingestd.state import kv
from ingestd.state.kv import RuleStore
from ingestd.state.memory import MemoryState
from tests.alerts.samples import NOW, Clock

ROW = "b" * 32


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """An empty state."""
    made = MemoryState()
    yield made
    await made.close()


@pytest.fixture
def clock() -> Clock:
    """A clock moved by hand."""
    return Clock()


@pytest.fixture
def store(state: MemoryState, clock: Clock) -> RuleStore:
    """The store on that state."""
    return RuleStore(state, clock)


def request(operation: Any, key: str = "key", **fields: Any) -> Request:
    """One call of a rule."""
    return Request(operation=operation, key=key, **fields)


async def test_a_repeated_call_answers_as_the_first_time_and_changes_nothing(store: RuleStore) -> None:
    """A write is known by rule, row and number: made again it answers the old value, others go on from the new."""
    add = request("add_count", amount=1)
    assert (await store.call("Rule", ROW, 0, add)).count == 1
    assert (await store.call("Rule", ROW, 0, add)).count == 1
    assert (await store.call("Rule", ROW, 1, add)).count == 2
    assert (await store.call("Other", ROW, 0, add)).count == 3
    assert (await store.call("Rule", ROW, 0, add)).count == 1


async def test_an_evaluation_that_wrote_reads_the_same_again(store: RuleStore, state: MemoryState) -> None:
    """What a rule read before it wrote is answered again after a crash: "first seen" stays true for that record."""
    seen = await store.call("Rule", ROW, 0, request("get", "users"))
    assert seen.strings is None
    await store.call("Rule", ROW, 1, request("put_set", "users", strings=("alice",)))

    after_restart = RuleStore(state, Clock())
    assert (await after_restart.call("Rule", ROW, 0, request("get", "users"))).strings is None
    assert (await after_restart.call("Rule", "c" * 32, 0, request("get", "users"))).strings == ("alice",)


async def test_what_is_read_and_never_written_takes_little_memory(
    store: RuleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large answers are kept for the newest evaluations only, and those still read the same again."""
    monkeypatch.setattr(kv, "_MAX_OPEN_CHARS", 50_000)
    await store.call("Rule", ROW, 0, request("put_set", "users", strings=("x" * 10_000,)))
    for number in range(100):
        await store.call("Rule", f"{number:032x}", 0, request("get", "users"))
    assert sum(len(answer) for reads in store._reads.values() for _, answer in reads) < 50_000
    await store.call("Rule", f"{99:032x}", 1, request("reset_set", "users"))
    assert (await store.call("Rule", f"{99:032x}", 0, request("get", "users"))).strings is not None


async def test_what_was_reset_takes_no_room(store: RuleStore, state: MemoryState) -> None:
    """Rules reset counters by names that events give them, most of which never counted."""
    for number in range(20):
        await store.call("Rule", f"{number:032x}", 0, request("reset_count", f"user {number}"))
        await store.call("Rule", f"{number:032x}", 1, request("reset_set", f"user {number}"))
    assert (await state.read(lambda tx: tx.execute("SELECT count(*) FROM rule_items")))[0][0] == 0
    await store.call("Rule", ROW, 0, request("add_count", amount=2))
    await store.call("Rule", ROW, 1, request("reset_count"))
    assert (await store.call("Rule", ROW, 2, request("add_count", amount=1))).count == 1


async def test_an_evaluation_that_only_read_reads_anew(store: RuleStore) -> None:
    """Without a write there is nothing to repeat: the next reading sees what is there then."""
    assert (await store.call("Rule", ROW, 0, request("get"))).count is None
    await store.call("Other", ROW, 0, request("add_count", amount=5))
    assert (await store.call("Rule", ROW, 0, request("get"))).count == 5


async def test_expired_items_are_not_there(store: RuleStore, clock: Clock, state: MemoryState) -> None:
    """After its time an item reads as empty, a write starts afresh, and the sweep removes it."""
    await store.call("Rule", ROW, 0, request("add_count", amount=7, expires_at=NOW + 60))
    clock.advance(60)
    assert (await store.call("Rule", ROW, 1, request("get"))).count is None
    answer = await store.call("Rule", ROW, 2, request("add_count", amount=1, expires_at=NOW + 90))
    assert answer == Item(count=1, expires_at=NOW + 90)
    clock.advance(60)
    await Alerts(state, Routing(), clock).sweep()
    assert await state.read(lambda tx: tx.execute("SELECT count(*) FROM rule_items")) == [(0,)]


async def test_concurrent_additions_all_count(store: RuleStore) -> None:
    """Additions from many records at once lose none."""
    add = request("add_count", amount=1)
    answers = await asyncio.gather(*(store.call("Rule", f"{number:032x}", 0, add) for number in range(100)))
    assert sorted(answer.count or 0 for answer in answers) == list(range(1, 101))


async def test_a_failed_transaction_changes_nothing(store: RuleStore, state: MemoryState) -> None:
    """When the state fails, the rule's call fails; made again it counts once, whether or not it was committed."""
    add = request("add_count", amount=1)
    state.fail_before_commit = 1
    with pytest.raises(Retryable):
        await store.call("Rule", ROW, 0, add)
    state.fail_after_commit = 1
    with pytest.raises(Retryable):
        await store.call("Rule", ROW, 0, add)
    assert (await store.call("Rule", ROW, 0, add)).count == 1


@pytest.mark.parametrize(
    "hostile",
    [
        request("put_dictionary", text="x" * (kv.MAX_ITEM_BYTES + 1)),
        request("put_set", strings=tuple(str(number) for number in range(100_000))),
        request("add_count", "k" * (kv.MAX_KEY_CHARS + 1), amount=1),
        request("add_count", amount=2**60),
        request("add_count", amount=-(2**100)),
    ],
    ids=["dictionary", "set", "key", "large count", "huge count"],
)
async def test_what_does_not_fit_is_refused(store: RuleStore, hostile: Request) -> None:
    """An item or key beyond the limits is an error of that call, and nothing is stored."""
    with pytest.raises(Permanent):
        await store.call("Rule", ROW, 0, hostile)
    assert await store.call("Rule", ROW, 1, request("get", hostile.key)) == Item()


async def test_old_calls_are_forgotten(
    store: RuleStore, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep walks over all calls, few at a time, and forgets those older than the retention."""
    monkeypatch.setattr(recorder, "_SWEEP_ROWS", 4)
    add = request("add_count", amount=1)
    for number in range(10):
        await store.call("Rule", ROW, number, add)
    clock.advance(2 * 86_400)
    await store.call("Rule", ROW, 10, add)
    await Alerts(state, Routing(), clock).sweep(86_400)
    assert await state.read(lambda tx: tx.execute("SELECT count(*) FROM rule_calls")) == [(1,)]
    assert (await store.call("Rule", ROW, 10, add)).count == 11


OPERATIONS = st.builds(
    Request,
    operation=st.sampled_from(
        ["get", "add_count", "reset_count", "set_expiry", "put_dictionary", "put_set", "add_to_set",
         "remove_from_set", "reset_set"]
    ),
    key=st.sampled_from(["a", "b"]),
    amount=st.integers(-5, 5),
    strings=st.lists(st.sampled_from("xyz"), max_size=3).map(tuple),
    text=st.just("{}"),
    expires_at=st.one_of(st.none(), st.floats(NOW - 5, NOW + 5)),
)  # fmt: skip


@settings(max_examples=25)
@given(st.lists(OPERATIONS, max_size=12))
async def test_it_answers_like_the_store_in_memory(operations: list[Request]) -> None:
    """Any sequence of operations is answered as the plain store answers it, the first time and when repeated."""
    state = MemoryState()
    store, plain = RuleStore(state, Clock()), MemoryStore(Clock())
    expected = [plain(operation) for operation in operations]
    answers = [await store.call("Rule", ROW, number, operation) for number, operation in enumerate(operations)]
    assert answers == expected
    writes = [number for number, operation in enumerate(operations) if operation.operation != "get"]
    for number in writes:
        assert await store.call("Rule", ROW, number, operations[number]) == expected[number]
    await state.close()
