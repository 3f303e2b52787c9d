"""What only the Pub/Sub source does: leases of its own length, exactly once, order, dead letters with reasons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from ingestd.errors import Permanent, Retryable
from ingestd.model import Delivery
from ingestd.sources import gcp_pubsub
from ingestd.sources._pubsub_checks import CONSUME, PUBLISH
from ingestd.sources._pubsub_letters import MAX_BYTES, letter_attributes
from ingestd.sources.gcp_pubsub import Config, PubSubSource, stores
from tests.gcp.pubsub import Fault
from tests.gcp.servers import Gcp


class Made:
    """Sources of a test, which are closed at its end."""

    def __init__(self, gcp: Gcp) -> None:
        self.gcp = gcp
        self.sources: list[PubSubSource] = []
        self.ahead = 0.0

    def source(self, subscription: str, **settings: Any) -> PubSubSource:
        """A source whose clock goes with that of the server."""
        config = Config(type="gcp_pubsub", subscription=subscription, pubsub_endpoint=self.gcp.pubsub_url, **settings)
        self.sources.append(PubSubSource("google", config, clock=lambda: time.time() + self.ahead))
        return self.sources[-1]

    def pass_time(self, secs: float) -> None:
        """Let time go by for both."""
        self.ahead += secs
        self.gcp.pubsub.broker.pass_time(secs)

    def refuse(self, code: grpc.StatusCode, *methods: str, after: bool = False, times: int = 1_000) -> None:
        """Let the next calls of these methods fail."""
        left = [times]

        def rule(method: str, request: Any) -> Fault | None:
            if method not in methods or not left[0]:
                return None
            left[0] -= 1
            return Fault(code, after=after)

        self.gcp.pubsub.rule = rule


@pytest.fixture
async def made(gcp: Gcp) -> AsyncIterator[Made]:
    """A maker of sources."""
    maker = Made(gcp)
    yield maker
    for source in maker.sources:
        await source.close()


# --- receiving ----------------------------------------------------------------------------------------------


async def test_a_delivery_tells_what_the_message_tells(gcp: Gcp, made: Made) -> None:
    """Bytes, attributes, when it was published, how often it was handed out."""
    name = gcp.subscription(dead_letter_topic=gcp.topic(), max_delivery_attempts=100)
    message_id = gcp.send(name, b"\x1f\x8b\x00", origin="sink")
    (delivery,) = await made.source(name, lease_secs=90).receive(10, 5)
    assert (delivery.body, delivery.attributes) == (b"\x1f\x8b\x00", {"origin": "sink"})
    assert (delivery.message_id, delivery.receive_count) == (message_id, 1)
    assert delivery.sent_at is not None
    assert abs(delivery.sent_at - time.time()) < 60
    assert 85 <= delivery.lease_until - delivery.received_at <= 91


async def test_a_lease_is_ours_and_not_that_of_the_subscription(gcp: Gcp, made: Made) -> None:
    """Ten seconds there, ten minutes here."""
    name = gcp.subscription(ack_deadline_secs=10)
    gcp.send(name, b"a")
    source = made.source(name)
    received = await source.receive(10, 5)
    made.pass_time(590)
    assert await source.extend(received, 600) != []
    made.pass_time(590)
    await source.ack(received)
    assert gcp.left(name) == []


async def test_a_lease_that_could_not_be_set_is_extended_next(gcp: Gcp, made: Made) -> None:
    """The message is handed out with the shortest lease that there is."""
    name = gcp.subscription()
    gcp.send(name, b"a")
    made.refuse(grpc.StatusCode.UNAVAILABLE, "ModifyAckDeadline")
    (delivery,) = await made.source(name).receive(10, 5)
    assert delivery.lease_until - delivery.received_at <= 10


async def test_a_pull_that_nobody_waited_for_loses_nothing(gcp: Gcp, made: Made) -> None:
    """What it brings is handed out by the next receive."""
    name = gcp.subscription()
    source = made.source(name)
    assert await source.receive(10, 0.1) == []
    waiting = asyncio.create_task(source.receive(10, 30))
    await asyncio.sleep(0)
    waiting.cancel()
    gcp.send(name, b"a")
    received = await source.receive(10, 5)
    assert [one.body for one in received] == [b"a"]
    assert [held.attempts for held in gcp.left(name)] == [1]


async def test_what_was_pulled_and_not_handed_out_is_given_back_at_the_end(gcp: Gcp, made: Made) -> None:
    """Another daemon need not wait for our lease."""
    name = gcp.subscription()
    for number in range(4):
        gcp.send(name, b"%d" % number)
    source = made.source(name)
    source._ready.extend(await source._pull(4))
    await source.close()
    other = made.source(name)
    again: list[Delivery] = []
    while len(again) < 4:
        again += await other.receive(10, 5)
    assert sorted(one.body for one in again) == [b"0", b"1", b"2", b"3"]


async def test_no_more_is_pulled_than_may_be_held(gcp: Gcp, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages may be large: bytes are a bound as well as their number."""
    monkeypatch.setattr(gcp_pubsub, "HELD_BYTES", 1_000)
    name = gcp.subscription()
    gcp.send(name, b"x" * 2_000)
    source = made.source(name)
    received = await source.receive(1, 5)
    await asyncio.gather(*source._pulls)
    gcp.send(name, b"y")
    assert await source.receive(1, 0.2) == []
    await source.ack(received)
    assert [one.body for one in await source.receive(1, 5)] == [b"y"]


async def test_messages_of_one_key_come_in_their_order(gcp: Gcp, made: Made) -> None:
    """One batch at a time, the next when it is acknowledged."""
    name = gcp.subscription(is_ordered=True)
    for number in range(6):
        gcp.send(name, b"%d" % number, key="k")
    source = made.source(name)
    bodies: list[bytes] = []
    while len(bodies) < 6:
        received = await source.receive(4, 5)
        assert received
        bodies += [one.body for one in received]
        await source.ack(received)
    assert bodies == [b"0", b"1", b"2", b"3", b"4", b"5"]


# --- leases and acknowledgements ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_exactly_once", [True, False])
async def test_a_message_whose_lease_ran_out_is_lost(gcp: Gcp, made: Made, is_exactly_once: bool) -> None:
    """Whether the service says so or not; acknowledging it is no error."""
    name = gcp.subscription(is_exactly_once=is_exactly_once)
    gcp.send(name, b"a")
    source = made.source(name, lease_secs=60)
    received = await source.receive(10, 5)
    made.pass_time(61)
    assert await source.extend(received, 60) == []
    await source.ack(received)
    assert len(gcp.left(name)) == 1


async def test_an_acknowledgement_that_is_refused_for_some_is_made_for_the_others(gcp: Gcp, made: Made) -> None:
    """An exactly-once subscription names those that are not ours."""
    name = gcp.subscription(is_exactly_once=True)
    gcp.send(name, b"a")
    source = made.source(name, lease_secs=60)
    late = await source.receive(10, 5)
    gcp.pubsub.broker.pass_time(61)
    gcp.send(name, b"b")
    received: list[Delivery] = []
    while len(received) < 2:
        received += await source.receive(10, 5)
    good = [one for one in received if one.body == b"b"]
    await source.ack([*late, *good])
    assert [held.message.data for held in gcp.left(name)] == [b"a"]


async def test_a_call_that_failed_in_passing_is_made_again(gcp: Gcp, made: Made) -> None:
    """Also when it was done and only its answer was lost."""
    name = gcp.subscription(is_exactly_once=True)
    gcp.send(name, b"a")
    source = made.source(name)
    received = await source.receive(10, 5)
    made.refuse(grpc.StatusCode.UNAVAILABLE, "Acknowledge", after=True, times=1)
    await source.ack(received)
    assert gcp.left(name) == []


async def test_an_acknowledgement_that_failed_is_told(gcp: Gcp, made: Made) -> None:
    """The caller repeats it, and then it counts."""
    name = gcp.subscription()
    gcp.send(name, b"a")
    source = made.source(name)
    received = await source.receive(10, 5)
    made.refuse(grpc.StatusCode.INTERNAL, "Acknowledge")
    with pytest.raises(Retryable):
        await source.ack(received)
    made.refuse(grpc.StatusCode.INTERNAL)
    await source.ack(received)
    assert gcp.left(name) == []


async def test_a_lease_that_could_not_be_extended_now_is_not_lost(gcp: Gcp, made: Made) -> None:
    """It is told, and asked for again at the next turn."""
    name = gcp.subscription()
    gcp.send(name, b"a")
    source = made.source(name)
    received = await source.receive(10, 5)
    made.refuse(grpc.StatusCode.UNAVAILABLE, "ModifyAckDeadline")
    with pytest.raises(Retryable):
        await source.extend(received, 600)
    made.refuse(grpc.StatusCode.UNAVAILABLE)
    assert len(await source.extend(received, 600)) == 1


async def test_a_message_given_back_with_a_delay_comes_after_it(gcp: Gcp, made: Made) -> None:
    """Pub/Sub has no delay; a deadline is one."""
    name = gcp.subscription()
    gcp.send(name, b"a")
    source = made.source(name)
    received = await source.receive(10, 5)
    await source.nack(received, 60)
    assert await source.receive(10, 0.1) == []
    made.pass_time(61)
    assert len(await source.receive(10, 5)) == 1


async def test_many_messages_are_acknowledged_in_few_calls(gcp: Gcp, made: Made) -> None:
    """As many ids to a call as a request may have."""
    name = gcp.subscription()
    for number in range(2_100):
        gcp.send(name, b"%d" % number)
    source = made.source(name)
    received: list[Delivery] = []
    while len(received) < 2_100:
        received += await source.receive(2_100 - len(received), 5)
    gcp.pubsub.seen.clear()
    await source.ack(received)
    assert [method for method, _ in gcp.pubsub.seen] == ["Acknowledge"] * 3
    assert gcp.left(name) == []


# --- dead letters -------------------------------------------------------------------------------------------


async def test_a_dead_letter_carries_its_reason(gcp: Gcp, made: Made) -> None:
    """As attributes, beside the message's own; those that may not be published are left out."""
    topic = gcp.topic()
    name, dead = gcp.subscription(), gcp.subscription(topic)
    gcp.send(name, b"\xff{", origin="sink", googclient_x="1")
    source = made.source(name, dead_letter_topic=topic)
    (delivery,) = await source.receive(10, 5)
    await source.dead_letter(delivery, "unknown_message", "é" * 2_000)
    assert gcp.left(name) == []
    (held,) = gcp.left(dead)
    assert held.message.data == b"\xff{"
    told = held.message.attributes
    assert (told["ingestd_reason"], told["origin"]) == ("unknown_message", "sink")
    assert told["ingestd_message_id"] == delivery.message_id
    assert "googclient_x" not in told


async def test_a_message_is_not_acknowledged_before_its_copy_is_there(gcp: Gcp, made: Made) -> None:
    """When the topic fails, the message stays."""
    topic, name = gcp.topic(), gcp.subscription()
    gcp.send(name, b"a")
    source = made.source(name, dead_letter_topic=topic)
    (delivery,) = await source.receive(10, 5)
    made.refuse(grpc.StatusCode.UNAVAILABLE, "Publish")
    with pytest.raises(Retryable):
        await source.dead_letter(delivery, "poison", "cannot be read")
    assert len(gcp.left(name)) == 1


def test_a_dead_letter_always_fits() -> None:
    """The data matter more than the reason, the reason more than other attributes."""
    many = {f"a{number}": "x" * 2_000 if number % 2 else "y" for number in range(300)}
    told = letter_attributes(Delivery(source="s", message_id="1", body=b"", attributes=many), "poison", "d")
    assert len(told) == 100
    assert all(len(value.encode()) <= 1_024 for value in told.values())
    assert told["ingestd_reason"] == "poison"
    full = Delivery(source="s", message_id="1", body=b"x" * MAX_BYTES, attributes=many)
    assert letter_attributes(full, "poison", "d") == {}


# --- failures and doctor ------------------------------------------------------------------------------------


async def test_a_subscription_that_is_not_there_is_permanent(gcp: Gcp, made: Made) -> None:
    """And named."""
    with pytest.raises(Permanent, match="projects/p/subscriptions/none"):
        await made.source("projects/p/subscriptions/none").receive(10, 0)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, f"{CONSUME} is missing, which the role Pub/Sub Subscriber"),
        (grpc.StatusCode.UNAUTHENTICATED, "does not take our credentials"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down"),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_each_refusal_passes_and_says_what_is_missing(
    gcp: Gcp, made: Made, code: grpc.StatusCode, text: str
) -> None:
    """Roles take effect late, and somebody may be mending them."""
    made.refuse(code, "Pull")
    with pytest.raises(Retryable, match=text):
        await made.source(gcp.subscription()).receive(10, 0)


async def test_check_asks_for_each_permission_and_changes_nothing(gcp: Gcp, made: Made) -> None:
    """All is well on a subscription of ours; the message in it is not touched."""
    name, topic = gcp.subscription(dead_letter_topic="x", max_delivery_attempts=100), gcp.topic()
    gcp.send(name, b"a")
    checks = await made.source(name, dead_letter_topic=topic).check()
    assert [check.what for check in checks if check.ok] == [
        f"{CONSUME} on {name}",
        f"{PUBLISH} on {topic}",
        f"settings of {name}",
    ]
    assert [held.attempts for held in gcp.left(name)] == [0]


@pytest.mark.parametrize("missing", [CONSUME, PUBLISH])
async def test_check_names_the_missing_permission(gcp: Gcp, made: Made, missing: str) -> None:
    """Which doctor prints."""
    gcp.pubsub.missing = {missing}
    checks = await made.source(gcp.subscription(), dead_letter_topic=gcp.topic()).check()
    assert [check.missing_permission for check in checks if not check.ok] == [missing]


async def test_check_warns_of_a_policy_that_gives_up_early(gcp: Gcp, made: Made) -> None:
    """Restarts count as deliveries."""
    name = gcp.subscription(dead_letter_topic="x", max_delivery_attempts=5)
    (wrong,) = [check for check in await made.source(name).check() if not check.ok]
    assert "gives up after 5" in wrong.detail


async def test_check_does_without_looking_at_the_settings(gcp: Gcp, made: Made) -> None:
    """The permission for that is not needed for the work."""
    gcp.pubsub.missing = {"pubsub.subscriptions.get"}
    assert all(check.ok for check in await made.source(gcp.subscription()).check())


def test_the_store_reads_as_the_subscription_is_read(gcp: Gcp) -> None:
    """One account."""
    config = Config(type="gcp_pubsub", subscription="projects/p/subscriptions/logs", impersonate="a@b.example")
    assert stores(config)["gs"]["account"].impersonate == "a@b.example"
