"""What only the SQS source does: leases as visibility timeouts, calls side by side, dead letters with reasons."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ingestd.errors import Permanent, Retryable
from ingestd.model import Delivery
from ingestd.sources.aws_sqs import ATTEMPTS, Config, SqsSource, stores
from ingestd.sources.base import Source
from tests.aws.proxy import Proxy, Refuse, in_front_of
from tests.aws.servers import REGION, Aws

BOGUS = "https://sqs.eu-central-1.amazonaws.com/111122223333/logs"


@pytest.fixture
async def proxy(ministack: Aws) -> AsyncIterator[Proxy]:
    """A proxy before the main server."""
    async with in_front_of(ministack.url) as made:
        yield made


@pytest.fixture
async def made() -> AsyncIterator[list[Source]]:
    """Sources to close."""
    sources: list[Source] = []
    yield sources
    for source in sources:
        await source.close()


def source_of(made: list[Source], url: str, queue: str, **settings: Any) -> SqsSource:
    """A source on this server."""
    config = Config(type="aws_sqs", queue_url=queue, region=REGION, endpoint_url=url, **settings)
    source = SqsSource("trail", config)
    made.append(source)
    return source


# --- receiving ----------------------------------------------------------------------------------------------


async def test_a_delivery_tells_what_sqs_tells(aws: Aws, made: list[Source]) -> None:
    """Body, attributes, when it was sent, how often it was received."""
    queue = aws.queue()
    aws.send(queue, "grüße", MessageAttributes={"kind": {"DataType": "String", "StringValue": "x"}})
    before = time.time()
    (delivery,) = await source_of(made, aws.url, queue, lease_secs=90).receive(10, 5)
    assert delivery.body.decode() == "grüße"
    assert delivery.attributes["kind"] == "x"
    assert delivery.receive_count == 1
    assert delivery.sent_at is not None
    assert abs(delivery.sent_at - before) < 60
    assert delivery.lease_until == pytest.approx(delivery.received_at + 90)


async def test_a_message_whose_lease_ran_out_comes_again(aws: Aws, made: list[Source]) -> None:
    """With a higher count, and to whoever asks."""
    queue = aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue, lease_secs=1)
    (first,) = await source.receive(10, 5)
    (again,) = await source.receive(10, 5)
    assert (again.message_id, again.receive_count) == (first.message_id, 2)


async def test_a_message_that_is_extended_does_not_come_again(aws: Aws, made: list[Source]) -> None:
    """The work may take longer than the lease."""
    queue = aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue, lease_secs=1)
    received = await source.receive(10, 5)
    assert len(await source.extend(received, 60)) == 1
    assert await source.receive(10, 2) == []


async def test_many_messages_are_received_by_several_calls_at_once(
    ministack: Aws, proxy: Proxy, made: list[Source]
) -> None:
    """More calls while answers come full, one call when the queue is empty; never more messages than asked for."""
    queue = ministack.queue()
    sqs = ministack.client("sqs")
    for start in range(0, 200, 10):
        entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(start, start + 10)]
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    source = source_of(made, proxy.url, queue)
    bodies: set[bytes] = set()
    calls = []
    while len(bodies) < 200:
        before = len(proxy.seen)
        received = await source.receive(64, 1)
        assert 0 < len(received) <= 64
        bodies |= {delivery.body for delivery in received}
        calls.append(len(proxy.seen) - before)
    assert calls[:4] == [1, 2, 4, 7]
    await source.receive(64, 0)
    await source.receive(64, 0)
    await source.receive(64, 0)
    before = len(proxy.seen)
    await source.receive(64, 0)
    assert len(proxy.seen) - before == 1


async def test_what_came_is_not_lost_when_a_call_beside_it_fails(
    ministack: Aws, proxy: Proxy, made: list[Source]
) -> None:
    """The failure is met again by the next call."""
    queue = ministack.queue()
    source = source_of(made, proxy.url, queue)
    source._receivers = 2
    ministack.send(queue, "a")
    proxy.rule = lambda seen: Refuse(500) if b'"WaitTimeSeconds": 0' in seen.body else None
    assert [delivery.body for delivery in await source.receive(20, 5)] == [b"a"]


async def test_what_was_given_back_for_a_moment_is_still_there(aws: Aws, made: list[Source]) -> None:
    """`run --once` does not end before it was seen again."""
    queue = aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue)
    received = await source.receive(10, 0)
    await source.nack(received, 2.0)
    assert [d.message_id for d in await source.receive(10, 0)] == [received[0].message_id]


# --- leases -------------------------------------------------------------------------------------------------


async def test_no_lease_goes_beyond_twelve_hours_after_the_receive(aws: Aws, made: list[Source]) -> None:
    """SQS refuses a longer one, and the message would count as lost."""
    queue = aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue)
    (received,) = await source.receive(10, 5)
    long_ago = msgspec.structs.replace(received, received_at=time.time() - 43_100)
    (extended,) = await source.extend([long_ago], 300)
    assert extended.lease_until <= long_ago.received_at + 43_200
    too_long_ago = msgspec.structs.replace(received, received_at=time.time() - 43_200)
    assert await source.extend([too_long_ago], 300) == []
    assert aws.messages(queue) == (0, 1)


async def test_a_lease_that_could_not_be_extended_now_is_not_lost(
    ministack: Aws, proxy: Proxy, made: list[Source]
) -> None:
    """It is asked for again while there is time."""
    queue = ministack.queue()
    ministack.send(queue, "a")
    source = source_of(made, proxy.url, queue)
    received = await source.receive(10, 5)
    proxy.fail("sqs ChangeMessageVisibilityBatch", *[Refuse(503, "ServiceUnavailable")] * ATTEMPTS)
    with pytest.raises(Retryable):
        await source.extend(received, 300)
    assert len(await source.extend(received, 300)) == 1


async def test_a_call_that_fails_does_not_undo_those_beside_it(
    ministack: Aws, proxy: Proxy, made: list[Source]
) -> None:
    """Of twelve messages two are extended later, and deleted later."""
    queue = ministack.queue()
    for number in range(12):
        ministack.send(queue, str(number))
    source = source_of(made, proxy.url, queue)
    received: list[Delivery] = []
    while len(received) < 12:
        received += await source.receive(12 - len(received), 5)
    proxy.rule = lambda seen: Refuse(500) if b"Entries" in seen.body and seen.body.count(b'"Id"') == 2 else None
    extended = await source.extend(received, 300)
    assert len(extended) == 12
    assert [new.lease_until > old.lease_until for new, old in zip(extended, received, strict=True)].count(True) == 10
    with pytest.raises(Retryable):
        await source.ack(received)
    proxy.rule = lambda seen: None
    await source.ack(received)
    assert ministack.messages(queue) == (0, 0)


async def test_one_bad_answer_delays_nothing(ministack: Aws, proxy: Proxy, made: list[Source]) -> None:
    """The call is made again at once."""
    queue = ministack.queue()
    ministack.send(queue, "a")
    source = source_of(made, proxy.url, queue)
    received = await source.receive(10, 5)
    proxy.fail("sqs DeleteMessageBatch", Refuse(500))
    await source.ack(received)
    assert ministack.messages(queue) == (0, 0)


async def test_an_old_receipt_is_no_error(aws: Aws, made: list[Source]) -> None:
    """A message that went to somebody else is theirs to finish: none of the calls raises for it."""
    queue = aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue, lease_secs=1)
    old = await source.receive(10, 5)
    (current,) = await source.receive(10, 5)
    await source.ack([current])
    await source.nack(old)
    await source.ack(old)
    assert await source.extend(old, 60) == []


async def test_more_than_ten_are_finished_in_batches(ministack: Aws, proxy: Proxy, made: list[Source]) -> None:
    """Ten to a call, and nothing is left."""
    queue = ministack.queue()
    for number in range(25):
        ministack.send(queue, str(number))
    source = source_of(made, proxy.url, queue)
    held: list[Delivery] = []
    while len(held) < 25:
        held += await source.receive(30, 5)
    await source.ack(held)
    assert len(proxy.operations("sqs DeleteMessageBatch")) == 3
    assert ministack.messages(queue) == (0, 0)


# --- dead letters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "FIFO"])
async def test_a_dead_letter_carries_the_reason(aws: Aws, made: list[Source], fifo: bool) -> None:
    """The body as it was, the message's own attributes, and why it is here."""
    queue, letters = aws.queue(fifo=fifo), aws.queue(fifo=fifo)
    aws.send(queue, "körper", MessageAttributes={"kind": {"DataType": "String", "StringValue": "x"}})
    source = source_of(made, aws.url, queue, dead_letter_queue_url=letters)
    (delivery,) = await source.receive(10, 5)
    await source.dead_letter(delivery, "forbidden", "s3:GetObject is missing\x00" + "x" * 5_000)
    (letter,) = aws.peek(letters)
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert letter["Body"] == "körper"
    assert attributes["kind"] == "x"
    assert attributes["ingestd_reason"] == "forbidden"
    assert attributes["ingestd_detail"].startswith("s3:GetObject is missing\ufffdx")
    assert attributes["ingestd_source"] == "trail"
    assert attributes["ingestd_message_id"] == delivery.message_id
    assert aws.messages(queue) == (0, 0)


async def test_the_original_stays_until_the_copy_is_there(ministack: Aws, proxy: Proxy, made: list[Source]) -> None:
    """A dead-letter queue that fails loses nothing."""
    queue, letters = ministack.queue(), ministack.queue()
    ministack.send(queue, "a")
    source = source_of(made, proxy.url, queue, dead_letter_queue_url=letters)
    (delivery,) = await source.receive(10, 5)
    proxy.fail("sqs SendMessage", Refuse(403, "AccessDenied"))
    with pytest.raises(Retryable, match="sqs:SendMessage is missing"):
        await source.dead_letter(delivery, "forbidden", "")
    assert ministack.messages(queue) == (0, 1)
    assert ministack.peek(letters) == []


# --- refusals -----------------------------------------------------------------------------------------------


async def test_a_refusal_names_the_permission_and_may_pass(ministack: Aws, proxy: Proxy, made: list[Source]) -> None:
    """Somebody may be mending the policy: the source does not end."""
    source = source_of(made, proxy.url, ministack.queue())
    proxy.rule = lambda seen: Refuse(403, "AccessDenied")
    with pytest.raises(Retryable, match="sqs:ReceiveMessage is missing") as caught:
        await source.receive(10, 0)
    assert caught.value.retry_after


async def test_the_permission_that_the_answer_names_is_believed(
    ministack: Aws, proxy: Proxy, made: list[Source]
) -> None:
    """An encrypted queue needs its key as well."""
    source = source_of(made, proxy.url, ministack.queue())
    message = "User: u is not authorized to perform: kms:Decrypt on resource: k"
    proxy.rule = lambda seen: Refuse(400, "KmsAccessDenied", message)
    with pytest.raises(Retryable, match="kms:Decrypt is missing"):
        await source.receive(10, 0)


async def test_a_queue_that_is_not_there_ends_the_source(aws: Aws, made: list[Source]) -> None:
    """Nothing will ever come of it."""
    source = source_of(made, aws.url, aws.queue() + "-no-more")
    with pytest.raises(Permanent) as caught:
        await source.receive(10, 0)
    assert caught.value.reason == "no_queue"


async def test_a_server_that_is_not_there_is_tried_again_later(made: list[Source]) -> None:
    """The pipeline pauses and goes on."""
    with pytest.raises(Retryable):
        await source_of(made, "http://127.0.0.1:9", "http://127.0.0.1:9/1/q").receive(10, 0)


# --- doctor -------------------------------------------------------------------------------------------------


async def test_check_changes_nothing(aws: Aws, made: list[Source]) -> None:
    """No message is received, deleted or sent."""
    queue, letters = aws.queue(), aws.queue()
    aws.send(queue, "a")
    source = source_of(made, aws.url, queue, dead_letter_queue_url=letters)
    assert [check for check in await source.check() if not check.ok] == []
    assert aws.messages(queue) == (1, 0)
    assert aws.messages(letters) == (0, 0)
    assert [delivery.receive_count for delivery in await source.receive(10, 5)] == [1]


ACTIONS = {
    "sqs ReceiveMessage": "sqs:ReceiveMessage",
    "sqs DeleteMessage": "sqs:DeleteMessage",
    "sqs ChangeMessageVisibility": "sqs:ChangeMessageVisibility",
    "sqs GetQueueAttributes": "sqs:GetQueueAttributes",
    "sqs SendMessage": "sqs:SendMessage",
}


@pytest.mark.parametrize("operation", ACTIONS)
async def test_check_names_the_action_that_is_missing(
    ministack: Aws, proxy: Proxy, made: list[Source], operation: str
) -> None:
    """Each action is tried for itself."""
    source = source_of(made, proxy.url, ministack.queue(), dead_letter_queue_url=ministack.queue())
    proxy.rule = lambda seen: Refuse(403, "AccessDenied") if seen.operation == operation else None
    (failed,) = [check for check in await source.check() if not check.ok]
    assert failed.missing_permission == ACTIONS[operation]


async def test_check_warns_of_a_low_receive_limit(aws: Aws, made: list[Source]) -> None:
    """Restarts use up receives; good messages would be set aside by the queue itself."""
    letters = aws.queue()
    policy = {"deadLetterTargetArn": aws.queue_arn(letters), "maxReceiveCount": 3}
    queue = aws.queue(RedrivePolicy=msgspec.json.encode(policy).decode())
    (failed,) = [check for check in await source_of(made, aws.url, queue).check() if not check.ok]
    assert "after 3 receives" in failed.detail


# --- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "region"),
    [
        ({"queue_url": BOGUS}, "eu-central-1"),
        ({"queue_url": BOGUS, "region": "us-west-2"}, "us-west-2"),
        ({"queue_url": "https://sqs.cn-north-1.amazonaws.com.cn/1/q"}, "cn-north-1"),
        ({"queue_url": "https://us-east-2.queue.amazonaws.com/1/q"}, "us-east-2"),
        ({"queue_url": "http://localhost:4566/1/q"}, None),
    ],
)
def test_the_region_is_that_of_the_queue(settings: dict[str, str], region: str | None) -> None:
    """Unless another is configured."""
    assert Config(type="aws_sqs", **settings).account().region == region  # type: ignore[arg-type]


def test_objects_are_read_as_the_queue_is() -> None:
    """Same account, and nothing but S3."""
    config = Config(type="aws_sqs", queue_url=BOGUS, requester_pays=True, reader="sdk")
    assert stores(config) == {"s3": {"account": config.account(), "requester_pays": True, "reader": "sdk"}}


async def test_depth_is_what_waits(aws: Aws, made: list[Source]) -> None:
    """For the gauge and for scaling."""
    queue = aws.queue()
    aws.send(queue, "a")
    aws.send(queue, "b")
    assert await source_of(made, aws.url, queue).depth() == 2
