"""The path of a source on the in-memory source and store: what becomes of messages, whatever their objects do."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from ingestd import pipeline, rejects
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing
from ingestd.errors import Permanent
from ingestd.holding import Holding
from ingestd.lake.files import LocalFiles
from ingestd.lake.writer import Writer, WriterSettings
from ingestd.ledger import Ledger
from ingestd.model import Delivery, Identity, Span
from ingestd.pipeline import Keeper, Pipeline
from ingestd.reading import Reading, Shared
from ingestd.sources.memory import Config, MemorySource
from ingestd.state.memory import MemoryState
from ingestd.stores.memory import MemoryStore
from ingestd.telemetry import catalogue
from ingestd.telemetry.health import Health
from ingestd.workers.serial import SerialExecutor
from ingestd.workers.settings import CodeSpec, PoolSettings
from tests.proofs import checker, hostile

BUCKET = "logs"


class House:
    """Everything that a pipeline needs, in one process: only the lake is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        self.source = MemorySource("queue")
        self.store = MemoryStore()
        self.state = MemoryState()
        self.health = Health()

    async def open(self) -> None:
        """Build the rooms."""
        self.ledger = await Ledger.open(self.state, None)
        settings = WriterSettings(rotate_secs=3600.0)  # commits only when something asks for one
        self.writer = Writer(settings, LocalFiles(self.lake), self.ledger)
        keeper = Keeper(Alerts(self.state, Routing()), self.writer, self.health)
        self.pool = SerialExecutor(PoolSettings(workers=1), keeper.keep)
        await self.pool.start(CodeSpec())
        self.shared = Shared(
            stores={"memory": self.store},
            ledger=self.ledger,
            pool=self.pool,
            writer=self.writer,
        )

    def pipeline(self, **options: object) -> Pipeline:
        """A pipeline of the source."""
        route = {"log_types": ["AWS.CloudTrail"]}
        config = Config.model_validate({"type": "memory", "routes": [route], **options})
        component = self.health.component("source", "queue")
        return Pipeline(self.source, config, self.shared, component, reading_limit=8)

    def announce(self, *keys: str, missing: tuple[str, ...] = ()) -> None:
        """One message that names these objects, each of which holds one event, and some that are not there."""
        for key in keys:
            self.store.put(BUCKET, key, json.dumps(hostile.record(key)).encode() + b"\n")
        objects = [{"store": "memory", "bucket": BUCKET, "key": key} for key in (*missing, *keys)]
        self.source.put(json.dumps({"objects": objects}).encode())

    async def events(self) -> Counter[str]:
        """Event ids in the lake."""
        await self.writer.flush()
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "events", ["eventID"]))

    async def rejects(self) -> list[str]:
        """Reasons in the table of rejects."""
        await self.writer.flush()
        return [str(row[0]) for row in checker.parquet_rows(self.lake, "rejects", ["reason"])]

    async def close(self) -> None:
        """Let go of everything."""
        await self.writer.close()
        await self.pool.close()
        await self.ledger.close()
        await self.state.close()


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[House]:
    """An open path."""
    made = House(tmp_path)
    await made.open()
    yield made
    await made.close()


async def _drained(pipeline: Pipeline) -> None:
    await asyncio.wait_for(pipeline.run(once=True), 60)
    await pipeline.drain(time.monotonic(), time.monotonic() + 10)


async def test_each_message_is_acknowledged_once_its_event_is_in_the_lake(path: House) -> None:
    """The plain case."""
    path.announce("a")
    path.announce("b")
    await _drained(path.pipeline())
    assert await path.events() == Counter(["a", "b"])
    assert path.source.messages == {}


async def test_holding_all_that_may_be_held_commits_instead_of_waiting(path: House) -> None:
    """More messages than `max_held`, and no rotation in sight."""
    for number in range(30):
        path.announce(f"e{number}")
    await _drained(path.pipeline(max_held=4))
    assert sum((await path.events()).values()) == 30
    assert path.source.messages == {}


async def test_a_commit_is_asked_for_while_more_may_still_be_held(
    path: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that receiving goes on during the commit."""
    for number in range(30):
        path.announce(f"e{number}")
    pipeline = path.pipeline(max_held=16)
    held_when_asked: list[int] = []
    ask = path.writer.request_commit

    def noting(reason: str) -> None:
        if reason == "held":
            held_when_asked.append(pipeline.held)
        ask(reason)

    monkeypatch.setattr(path.writer, "request_commit", noting)
    await _drained(pipeline)
    assert 8 <= held_when_asked[0] < 16
    assert path.source.messages == {}


async def test_the_same_object_in_two_messages_is_read_once(path: House) -> None:
    """Both messages are acknowledged."""
    path.source.deliver_twice = True
    path.announce("a")
    path.announce("a")
    await _drained(path.pipeline())
    assert await path.events() == Counter(["a"])
    assert path.store.opened.count("a") <= 2
    assert path.source.messages == {}


async def test_a_message_with_a_missing_object_is_finished_after_the_others_are_durable(path: House) -> None:
    """The reject tells of the missing one; nothing of the others is lost."""
    path.announce("a", "b", missing=("gone",))
    await _drained(path.pipeline())
    assert await path.events() == Counter(["a", "b"])
    assert await path.rejects() == ["not_found"]
    assert path.source.messages == {}


async def test_a_message_with_a_missing_object_comes_again_while_another_may_yet_be_read(path: House) -> None:
    """A passing failure beside a permanent one: the message is not finished by the permanent one."""
    path.announce("a", missing=("gone",))
    path.store.cut_after["a"] = 0
    path.source.clock = (clock := _Clock())
    pipeline = path.pipeline()
    running = asyncio.create_task(pipeline.run())
    await _until(lambda: path.store.opened.count("a") == 1 and pipeline.held == 0)
    assert len(path.source.messages) == 1
    clock.now += 600
    path.source.put(b"not a notice")  # wakes the receiver
    await _until(lambda: not path.source.messages)
    assert await path.events() == Counter(["a"])
    pipeline.stop()
    await running
    await pipeline.drain(time.monotonic(), time.monotonic() + 10)
    assert sorted(await path.rejects()) == ["not_found", "unknown_message"]


async def test_a_message_that_no_one_understands_is_set_aside_with_its_reject(path: House) -> None:
    """The row is committed before the message goes; by policy to the dead letters."""
    path.source.put(b"who are you?")
    await _drained(path.pipeline())
    assert await path.rejects() == ["unknown_message"]
    assert [reason for _, reason, _ in path.source.dead_letters] == ["unknown_message"]


async def test_a_message_that_no_one_understands_may_be_acknowledged_instead(path: House) -> None:
    """`on_unknown: ack`."""
    path.source.put(b"who are you?")
    await _drained(path.pipeline(on_unknown="ack"))
    assert await path.rejects() == ["unknown_message"]
    assert path.source.dead_letters == []
    assert path.source.messages == {}


async def test_a_refused_object_is_a_reject_and_a_dead_letter(path: House) -> None:
    """A permanent refusal is not repeated."""
    path.announce("secret")
    path.store.forbidden.add("secret")
    await _drained(path.pipeline())
    assert await path.rejects() == ["forbidden"]
    assert [reason for _, reason, _ in path.source.dead_letters] == ["forbidden"]


def test_the_back_off_ends_at_five_minutes_however_often_a_message_came() -> None:
    """A queue without a limit of its own hands a message out thousands of times."""
    assert [pipeline._back_off(attempts) for attempts in (0, 3, 9, 5_000)] == [2.0, 8.0, 300.0, 300.0]


async def test_a_source_that_cannot_be_asked_for_a_moment_is_not_taken_for_empty(path: House) -> None:
    """`run --once` goes on."""
    path.announce("a")
    path.source.fail_next["receive"] = 1
    await _drained(path.pipeline())
    assert await path.events() == Counter(["a"])


async def test_a_source_that_cannot_be_asked_at_all_fails_a_run_that_is_to_end(
    path: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run --once` does not wait for ever, and does not take it for empty either."""
    monkeypatch.setattr(pipeline, "RECEIVE_WAIT_SECS", 0.01)
    path.source.fail_next["receive"] = 1_000
    with pytest.raises(Permanent):
        await _drained(path.pipeline())


async def test_acknowledging_is_repeated_until_it_succeeds(path: House) -> None:
    """The queue refuses twice."""
    path.announce("a")
    path.source.fail_next["ack"] = 2
    await _drained(path.pipeline())
    assert path.source.acked == ["m1"]


async def test_a_drain_commits_and_acknowledges_what_was_read_without_waiting_for_its_deadline(path: House) -> None:
    """Nothing would ask for the commit otherwise: rotation is an hour away."""
    pipeline = path.pipeline()
    running = asyncio.create_task(pipeline.run())
    path.announce("a")
    await _until(lambda: path.store.opened == ["a"] and pipeline.reading == 0)
    pipeline.stop()
    await running
    began = time.monotonic()
    assert await pipeline.drain(began + 600, began + 1200) == 0
    assert await path.events() == Counter(["a"])
    assert path.source.messages == {}


async def test_a_drain_gives_back_what_is_not_committed_in_time(path: House) -> None:
    """All is read and waits for its commit when the time is over: another daemon gets the messages."""
    pipeline = path.pipeline()
    running = asyncio.create_task(pipeline.run())
    path.announce("a")
    path.announce("b")
    path.announce("c", "d")
    await _until(lambda: sorted(path.store.opened) == ["a", "b", "c", "d"] and pipeline.reading == 0)
    pipeline.stop()
    await running
    assert await pipeline.drain(time.monotonic(), time.monotonic()) == 3
    assert (pipeline.held, path.source.acked) == (0, [])
    assert await path.events() == Counter("abcd")  # its own commit came after all: the messages come again
    await _drained(path.pipeline())
    assert await path.events() == Counter("abcd")
    assert path.source.messages == {}


async def test_an_object_whose_commit_fails_is_read_again(path: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another daemon had taken its place: the message comes again, and its record is in the lake once."""
    commit, failing = path.ledger.commit, iter([True])

    async def taken_over_once(batch_id: str) -> bool:
        if next(failing, False):
            await path.ledger.abort(batch_id)
            return False
        return await commit(batch_id)

    monkeypatch.setattr(path.ledger, "commit", taken_over_once)
    path.source.clock = (clock := _Clock())
    pipeline = path.pipeline()
    running = asyncio.create_task(pipeline.run())
    path.announce("a")
    await _until(lambda: path.store.opened == ["a"] and pipeline.held == 0)
    assert path.source.acked == []
    clock.now += 600
    path.source.put(b"not a notice")  # wakes the receiver
    await _until(lambda: not path.source.messages)
    pipeline.stop()
    await running
    await pipeline.drain(time.monotonic(), time.monotonic() + 10)
    assert await path.events() == Counter(["a"])


async def test_leases_are_extended_when_half_of_them_has_passed() -> None:
    """Not before; and a message lost to another consumer is let go."""
    clock = _Clock()
    source = MemorySource("queue", lease_secs=100, clock=clock)
    freed: list[int] = []
    holding = Holding(source, lambda: freed.append(1), clock=clock)
    for _ in range(2):
        source.put(b"x")
    held = holding.take(await source.receive(10, 0.0))
    clock.now += 40
    await holding.extend_due()
    assert {message.visible_at for message in source.messages.values()} == {held[0].lease_until}
    clock.now += 20
    await source.receive(10, 0.0)
    await source.nack([held[0]])  # it goes to somebody else
    (taken_by_other,) = [d for d in await source.receive(10, 0.0) if d.message_id == held[0].message_id]
    assert isinstance(taken_by_other, Delivery)
    await holding.extend_due()
    assert len(holding) == 1
    assert freed == [1]
    assert source.messages[held[1].message_id].visible_at == clock.now + 100


async def test_a_message_that_is_acknowledged_while_its_lease_is_extended_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue does not know it any more: that is what was wanted, and nobody is to hear of a lost lease."""
    clock = _Clock()
    source = MemorySource("acknowledging", lease_secs=100, clock=clock)
    holding = Holding(source, lambda: None, clock=clock)
    for _ in range(3):
        source.put(b"x")
    held = holding.take(await source.receive(10, 0.0))
    extend = source.extend

    async def acknowledged_meanwhile(deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        await holding.acknowledge_finished()
        holding.finish(held[1])
        await source.ack([held[1]])  # what a call that is under way has done so far
        return await extend(deliveries, lease_secs)

    monkeypatch.setattr(source, "extend", acknowledged_meanwhile)
    holding.finish(held[0])
    clock.now += 60
    await holding.extend_due()
    await holding.acknowledge_finished()
    assert len(holding) == 1
    assert source.messages.keys() == {held[2].message_id}
    for outcome in ("messages_total", "lease_extensions_total"):
        assert catalogue.value(f"ingestd_{outcome}", source="acknowledging", outcome="lost") == 0
    assert catalogue.value("ingestd_messages_total", source="acknowledging", outcome="acked") == 2


async def test_a_message_that_comes_again_while_it_is_acknowledged_is_acknowledged_by_its_new_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lease ran out at that moment, and the queue does not take the old one."""
    clock = _Clock()
    source = MemorySource("again", lease_secs=100, clock=clock)
    holding = Holding(source, lambda: None, clock=clock)
    source.put(b"x")
    (held,) = holding.take(await source.receive(10, 0.0))
    acknowledge = source.ack
    receipts: list[str] = []

    async def too_late(deliveries: Sequence[Delivery]) -> None:
        receipts.extend(delivery.receipt for delivery in deliveries)
        if len(receipts) == 1:
            clock.now += 200
            assert holding.take(await source.receive(10, 0.0)) == []
        await acknowledge(deliveries)

    monkeypatch.setattr(source, "ack", too_late)
    holding.finish(held)
    await holding.acknowledge_finished()
    assert len(set(receipts)) == 2
    assert source.messages == {}
    assert len(holding) == 0
    assert catalogue.value("ingestd_messages_total", source="again", outcome="acked") == 1


async def test_leases_of_messages_that_came_together_are_not_extended_together() -> None:
    """Each at its own moment, none after half of its lease."""
    clock = _Clock()
    source = MemorySource("queue", lease_secs=100, clock=clock)
    holding = Holding(source, lambda: None, clock=clock)
    for _ in range(200):
        source.put(b"x")
    holding.take(await source.receive(200, 0.0))
    started, extended = clock.now, []
    for passed in (35, 40, 45, 50.1):
        clock.now = started + passed
        await holding.extend_due()
        extended.append(sum(message.visible_at > started + 100 for message in source.messages.values()))
    assert extended[0] == 0
    assert 20 < extended[1] < extended[2] < 180
    assert extended[3] == 200


class _Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def _until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        await asyncio.sleep(0.01)


# --- messages that are events -------------------------------------------------------------------------------


async def test_messages_that_are_events_are_acknowledged_once_they_are_in_the_lake(path: House) -> None:
    """Several records in one message, each with its own row."""
    path.source.put(b"\n".join(json.dumps(hostile.record(name)).encode() for name in "ab"))
    path.source.put(base64.b64encode(gzip.compress(json.dumps(hostile.record("c")).encode())))
    await _drained(path.pipeline(payload="message"))
    assert await path.events() == Counter("abc")
    assert path.source.messages == {}


async def test_a_message_that_comes_again_is_no_second_event(path: House) -> None:
    """At once, or after it was committed and its acknowledgement got lost."""
    path.source.deliver_twice = True
    path.source.put(json.dumps(hostile.record("a")).encode())
    await _drained(path.pipeline(payload="message"))
    (delivery,) = [Delivery(source="queue", message_id="m-again", body=json.dumps(hostile.record("b")).encode())]
    reading = Reading("queue", Config.model_validate({"type": "memory", "payload": "message"}), path.shared)
    for _ in range(2):
        commit = await reading.read_message(delivery, delivery.body)
        await path.writer.flush()
        if commit is not None:
            await commit
    assert await path.events() == Counter("ab")


async def test_a_message_that_holds_no_event_is_a_reject(path: House) -> None:
    """It is acknowledged all the same, as a bad record of an object is."""
    path.source.put(b"{broken")
    await _drained(path.pipeline(payload="message"))
    assert len(await path.rejects()) == 1
    assert path.source.messages == {}


@pytest.mark.parametrize("committed", [(0, 2), (1, 3)], ids=["the first", "some in between"])
async def test_a_message_of_which_some_is_committed_is_set_aside(path: House, committed: tuple[int, int]) -> None:
    """Its reject stands for all that is left of it, and follows the last record that is committed."""
    path.source.put(b"kills every child")
    path.source.max_receives = 0
    identity = Identity("message:queue/m1")
    await path.ledger.claim(identity, source="queue", url=identity)
    read = rejects.of_findings("queue", identity, [("invalid", "", "")])
    span = Span(task=0, identity=identity, first=committed[0], end=committed[1])
    await path.writer.add(msgspec.structs.replace(read, spans=(span,)), [])
    await path.writer.leave(identity)
    await path.ledger.release(identity)
    await _drained(path.pipeline(payload="message"))
    assert sorted(await path.rejects()) == ["invalid", "received_too_often"]
    assert [reason for _, reason, _ in path.source.dead_letters] == ["received_too_often"]
    assert (await path.ledger.claim(identity, source="queue", url=identity)).status == "done"


def test_messages_need_a_route_without_a_prefix() -> None:
    """They have no key that could begin with it."""
    with pytest.raises(ValueError, match="without `prefix`"):
        Config.model_validate({"type": "memory", "payload": "message", "routes": [{"prefix": "a/"}]})
