"""The server that plays Pub/Sub, asked by Google's own client: it behaves as the service does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound, ServiceUnavailable
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PullRequest

from tests.gcp.pubsub import Fault, PubSub, running

TOPIC, DEAD = "projects/p/topics/logs", "projects/p/topics/dead"
NAME = "projects/p/subscriptions/logs"


class Client:
    """Google's client of the server, and what the tests do with it."""

    def __init__(self, server: PubSub) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(server.address)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        self.publisher.create_topic(name=TOPIC)
        self.publisher.create_topic(name=DEAD)

    def subscribe(self, name: str = NAME, topic: str = TOPIC, **settings: Any) -> None:
        self.subscriber.create_subscription(request={"name": name, "topic": topic, **settings})

    def publish(self, *messages: dict[str, Any]) -> list[str]:
        return list(self.publisher.publish(request={"topic": TOPIC, "messages": messages}).message_ids)

    def pull(self, most: int = 10, name: str = NAME) -> Any:
        request = {"subscription": name, "max_messages": most, "return_immediately": True}
        return self.subscriber.pull(request=request, retry=None).received_messages

    def data(self, most: int = 10, name: str = NAME) -> list[bytes]:
        return [one.message.data for one in self.pull(most, name)]


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a new server."""
    with running() as server:
        made = Client(server)
        yield made
        made.channel.close()


def test_what_is_published_is_pulled(client: Client) -> None:
    """Bytes, attributes, id and time, by each subscription."""
    client.subscribe()
    client.subscribe("projects/p/subscriptions/other")
    (name,) = client.publish({"data": b"\x00\xff", "attributes": {"eventType": "OBJECT_FINALIZE"}})
    (one,) = client.pull()
    assert (one.message.data, dict(one.message.attributes)) == (b"\x00\xff", {"eventType": "OBJECT_FINALIZE"})
    assert one.message.message_id == name
    assert one.message.publish_time.timestamp() > 0
    assert client.data(name="projects/p/subscriptions/other") == [b"\x00\xff"]


def test_a_held_message_is_not_handed_out_until_its_deadline(client: Client) -> None:
    """Then it comes again, under another ack id."""
    client.subscribe(ack_deadline_seconds=30)
    client.publish({"data": b"a"})
    (first,) = client.pull()
    client.server.broker.pass_time(29)
    assert client.data() == []
    client.server.broker.pass_time(2)
    (second,) = client.pull()
    assert second.ack_id != first.ack_id


def test_a_deadline_is_extended_and_given_up(client: Client) -> None:
    """By ModifyAckDeadline, to 600 seconds at most; 0 gives the message back."""
    client.subscribe()
    client.publish({"data": b"a"})
    ids = [client.pull()[0].ack_id]
    client.subscriber.modify_ack_deadline(subscription=NAME, ack_ids=ids, ack_deadline_seconds=600)
    client.server.broker.pass_time(599)
    assert client.data() == []
    client.subscriber.modify_ack_deadline(subscription=NAME, ack_ids=ids, ack_deadline_seconds=0)
    assert client.data() == [b"a"]
    with pytest.raises(InvalidArgument):
        client.subscriber.modify_ack_deadline(subscription=NAME, ack_ids=ids, ack_deadline_seconds=601)


def test_an_acknowledged_message_never_comes_back(client: Client) -> None:
    """And a late acknowledgement is no error, nor does it do anything."""
    client.subscribe()
    client.publish({"data": b"a"})
    (first,) = client.pull()
    client.server.broker.pass_time(11)
    client.subscriber.acknowledge(subscription=NAME, ack_ids=[first.ack_id])
    (second,) = client.pull()
    client.subscriber.acknowledge(subscription=NAME, ack_ids=[second.ack_id])
    client.server.broker.pass_time(11)
    assert client.data() == []


def test_exactly_once_says_which_ids_are_not_ours(client: Client) -> None:
    """The others of the call are acknowledged."""
    client.subscribe(enable_exactly_once_delivery=True)
    client.publish({"data": b"a"})
    (late,) = client.pull()
    client.server.broker.pass_time(11)
    client.publish({"data": b"b"})
    good = [one.ack_id for one in client.pull()]
    with pytest.raises(FailedPrecondition) as caught:
        client.subscriber.acknowledge(subscription=NAME, ack_ids=[late.ack_id, *good], retry=None)
    (detail,) = caught.value.details
    assert dict(detail.metadata) == {late.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    client.server.broker.pass_time(11)
    assert client.data() == []


def test_messages_of_one_key_come_in_order_and_one_batch_at_a_time(client: Client) -> None:
    """What is given back takes along what came after it; other keys go on."""
    client.subscribe(enable_message_ordering=True)
    client.publish(*({"data": b"%d" % number, "ordering_key": "k"} for number in range(4)))
    first, _ = client.pull(2)
    client.publish({"data": b"free", "ordering_key": "other"})
    assert client.data() == [b"free"]
    client.subscriber.modify_ack_deadline(subscription=NAME, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    assert client.data() == [b"0", b"1", b"2", b"3"]


def test_a_message_that_was_handed_out_too_often_goes_to_the_dead_letters(client: Client) -> None:
    """With the count that was reached."""
    policy = {"dead_letter_topic": DEAD, "max_delivery_attempts": 5}
    client.subscribe(dead_letter_policy=policy)
    client.subscribe("projects/p/subscriptions/dead", DEAD)
    client.publish({"data": b"a"})
    for attempt in range(1, 6):
        (one,) = client.pull()
        assert one.delivery_attempt == attempt
        client.server.broker.pass_time(11)
    assert client.data() == []
    (dead,) = client.pull(name="projects/p/subscriptions/dead")
    assert dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_a_pull_waits_for_a_message(client: Client) -> None:
    """And comes back as soon as there is one."""
    client.subscribe()
    pull: Any = client.subscriber.transport.pull
    waiting = pull.future(request=PullRequest(subscription=NAME, max_messages=1), timeout=5)
    client.publish({"data": b"a"})
    assert [one.message.data for one in waiting.result().received_messages] == [b"a"]


def test_what_does_not_exist_is_not_found_and_faults_are_as_told(client: Client) -> None:
    """Errors are those of the service."""
    with pytest.raises(NotFound):
        client.pull()
    client.subscribe()
    client.server.rule = lambda method, request: Fault(grpc.StatusCode.UNAVAILABLE) if method == "Pull" else None
    with pytest.raises(ServiceUnavailable):
        client.pull()
