"""An SQS queue as a source: standard or FIFO, of notices about objects in S3.

Messages are received by as many calls at once as keep full answers coming, and never more than are asked for.
Leases are visibility timeouts. What cannot be worked on goes to the configured dead-letter queue with the reason as
attributes.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import stamina
from pydantic import Field

from ingestd.cloud import aws
from ingestd.cloud.aws_json import JsonCalls
from ingestd.cloud.aws_trail import TrailKeys
from ingestd.config.aws import AwsConfig
from ingestd.config.models import Seconds, SourceConfig
from ingestd.errors import Retryable
from ingestd.failpoints import hit
from ingestd.model import Check, Delivery
from ingestd.sources._sqs_checks import QueueChecks, no_such_queue
from ingestd.sources._sqs_letters import GROUP, dead_letter
from ingestd.sources.base import Source
from ingestd.state.base import State

BATCH = 10
"""Messages per call, which is SQS's limit."""
RECEIVERS = 16
"""Calls to receive under way at once, at most."""
CALLS = 8
"""Calls to delete or extend under way at once, at most."""
ATTEMPTS = 4
"""Calls per batch to delete or extend; then its messages are asked for again with the next turn."""
CALL_FAILED = "CallFailed"
LONGEST_WAIT_SECS = 20
LONGEST_LEASE_SECS = 43_200
"""SQS holds a message for 12 hours in all, extensions included."""
SOON_SECS = 30
"""Messages given back for no longer than this are part of what `run --once` finds."""
GONE = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight", "InvalidReceiptHandle"})
"""Answers about a receipt that say: no longer yours."""
OFTEN = {
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility_batch": "ChangeMessageVisibilityBatch",
}
"""Calls that are worth making without the SDK."""
_REGION = re.compile(r"https?://(?:sqs\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.)")

Queue = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class Config(SourceConfig, AwsConfig):
    """Reads the objects that an SQS queue tells of: from S3, SNS, EventBridge, Security Lake or CloudTrail."""

    queue_url: Queue
    """URL of the queue, e.g. `https://sqs.eu-central-1.amazonaws.com/111122223333/logs`."""
    dead_letter_queue_url: Queue | None = None
    """Queue for messages that failed for good, with the reason as attributes. Without one they are
    only kept in the table `rejects`."""
    lease_secs: Annotated[Seconds, Field(ge=1, le=LONGEST_LEASE_SECS)] = 300
    """How long a message is ours at a time; it is extended at half. The default is five times the usual commit
    interval, so that an ordinary message needs no extension."""
    requester_pays: bool = False
    """Whether we pay for reading from buckets that ask their readers to."""
    reader: Literal["fast", "sdk"] = "fast"
    """How messages are received and objects read. `fast` costs less than half of `sdk` where objects are small: by
    obstore, and without the SDK's machinery, which is left what is not usual."""

    verify_digests: bool = False
    """Whether CloudTrail's digest files are verified: that the log files which they name are there and as CloudTrail
    wrote them. Each log file is read once more for it. What differs is in the table `rejects`, and an alert."""

    def account(self) -> aws.Account:
        """As whom the queue and its objects are read."""
        found = _REGION.match(self.queue_url)
        return self.to_account(region=(found[1] or found[2]) if found else None)


class SqsSource(Source):
    """See the module."""

    lease_limit_secs = float(LONGEST_LEASE_SECS)

    def __init__(self, name: str, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.lease_secs = config.lease_secs
        self._config = config
        self._clock = clock
        self._clients = aws.Clients(config.account())
        self._often = JsonCalls(self._clients, "sqs", "AmazonSQS") if config.reader == "fast" else None
        self._receivers = 1
        self._given_back_until = 0.0
        self._calls = asyncio.Semaphore(CALLS)

    # --- receive ---

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. Even with `wait_secs` 0 a second is waited: only then are all of SQS's servers asked. And
        what was given back a moment ago is still to come."""
        received = await self._round(limit, wait_secs)
        while not received and not wait_secs and self._clock() < self._given_back_until:
            received = await self._round(limit, self._given_back_until - self._clock())
        return received

    async def _round(self, limit: int, wait_secs: float) -> list[Delivery]:
        """Receive by several calls at once, as many as came back full lately."""
        wait = min(max(1, math.ceil(wait_secs)), LONGEST_WAIT_SECS)
        wanted = [min(BATCH, limit - start) for start in range(0, limit, BATCH)][: self._receivers]
        answers = await asyncio.gather(
            *(self._receive(count, 0 if at else wait) for at, count in enumerate(wanted)), return_exceptions=True
        )
        received = [delivery for answer in answers if isinstance(answer, list) for delivery in answer]
        failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
        if failed is not None and not received:
            raise failed
        if len(received) == sum(wanted) and limit > BATCH * self._receivers:
            self._receivers = min(2 * self._receivers, RECEIVERS)
        elif len(received) <= sum(wanted) // 2:
            self._receivers = max(1, self._receivers // 2)
        return received

    async def _receive(self, count: int, wait_secs: int) -> list[Delivery]:
        answer = await self._call(
            "receive_message",
            "sqs:ReceiveMessage",
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait_secs,
            VisibilityTimeout=math.ceil(self.lease_secs),
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        now = self._clock()
        return [self._delivery(message, now) for message in answer.get("Messages", ())]

    def _delivery(self, message: Mapping[str, Any], now: float) -> Delivery:
        system = message.get("Attributes", {})
        attributes = {
            name: value["StringValue"]
            for name, value in message.get("MessageAttributes", {}).items()
            if "StringValue" in value
        }
        if "MessageGroupId" in system:
            attributes[GROUP] = system["MessageGroupId"]
        return Delivery(
            source=self.name,
            message_id=message["MessageId"],
            body=message["Body"].encode(errors="replace"),
            attributes=attributes,
            receipt=message["ReceiptHandle"],
            received_at=now,
            sent_at=int(system["SentTimestamp"]) / 1000 if "SentTimestamp" in system else None,
            lease_until=now + self.lease_secs,
            receive_count=int(system.get("ApproximateReceiveCount", 1)),
        )

    # --- what becomes of held messages ---

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`. A message that was held for 12 hours is lost: SQS hands it out again."""
        now = self._clock()
        deliveries = [delivery for delivery in deliveries if self._at_most(delivery, lease_secs, now) > 0]
        timeouts = [self._at_most(delivery, lease_secs, now) for delivery in deliveries]
        refused = await self._change_visibility(deliveries, timeouts)
        extended = []
        for at, delivery in enumerate(deliveries):
            if at not in refused:
                extended.append(msgspec.structs.replace(delivery, lease_until=now + timeouts[at]))
            elif refused[at] not in GONE:  # still ours as far as we know: asked for again at the next turn
                extended.append(delivery)
        return extended

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        now = self._clock()
        timeouts = [self._at_most(delivery, delay_secs, now) for delivery in deliveries]
        refused = await self._change_visibility(deliveries, timeouts)
        soon = [timeout for timeout in timeouts if timeout <= SOON_SECS]
        self._given_back_until = max([self._given_back_until, *(now + timeout + 1 for timeout in soon)])
        self._raise_unless_gone(refused, "sqs:ChangeMessageVisibility")

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`."""
        if not deliveries:
            return
        hit("source.before_ack")
        entries = [{"ReceiptHandle": delivery.receipt} for delivery in deliveries]
        refused = await self._in_batches("delete_message_batch", "sqs:DeleteMessage", entries)
        self._raise_unless_gone(refused, "sqs:DeleteMessage")
        hit("source.after_ack")

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`."""
        url = self._config.dead_letter_queue_url
        if url is not None:
            await self._call("send_message", "sqs:SendMessage", **dead_letter(delivery, url, reason, detail))
        await self.ack([delivery])

    def _at_most(self, delivery: Delivery, secs: float, now: float) -> int:
        """Whole seconds that SQS will still grant."""
        left = LONGEST_LEASE_SECS - math.ceil(now - delivery.received_at)
        return max(0, min(math.ceil(secs), left))

    async def _change_visibility(self, deliveries: Sequence[Delivery], timeouts: Sequence[int]) -> dict[int, str]:
        entries = [
            {"ReceiptHandle": delivery.receipt, "VisibilityTimeout": timeout}
            for delivery, timeout in zip(deliveries, timeouts, strict=True)
        ]
        return await self._in_batches("change_message_visibility_batch", "sqs:ChangeMessageVisibility", entries)

    async def _in_batches(self, operation: str, action: str, entries: list[dict[str, Any]]) -> dict[int, str]:
        """Send the entries, ten to a call; the error codes of those that were refused, by their place.

        A call that fails in passing is tried again by itself: of many calls one fails nearly always where the service
        has its troubles. Where it fails all the same, its entries count as refused. Raises when every call failed."""

        async def send(start: int) -> dict[int, str]:
            batch = [{"Id": str(at), **entry} for at, entry in enumerate(entries[start : start + BATCH], start)]
            async for attempt in stamina.retry_context(on=_in_passing, attempts=ATTEMPTS, wait_max=1.0):
                with attempt:
                    async with self._calls:
                        answer = await self._call(operation, action, Entries=batch)
            return {int(failed["Id"]): str(failed["Code"]) for failed in answer.get("Failed", ())}

        starts = range(0, len(entries), BATCH)
        answers = await asyncio.gather(*map(send, starts), return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if failures and (len(failures) == len(answers) or not all(isinstance(one, Retryable) for one in failures)):
            raise failures[0]
        refused: dict[int, str] = {}
        for start, answer in zip(starts, answers, strict=True):
            if isinstance(answer, BaseException):
                refused |= dict.fromkeys(range(start, min(start + BATCH, len(entries))), CALL_FAILED)
            else:
                refused |= answer
        return {at: code.rsplit(".", 1)[-1] for at, code in refused.items()}

    def _raise_unless_gone(self, refused: Mapping[int, str], action: str) -> None:
        codes = sorted(set(refused.values()) - GONE)
        if codes:
            raise Retryable(f"{self._what}: {action} failed for {len(refused)} messages ({', '.join(codes)})")

    # --- the rest ---

    async def depth(self) -> int | None:
        """Messages waiting, roughly; SQS's count lags by up to a minute."""
        attributes = await self._attributes("ApproximateNumberOfMessages")
        return int(attributes.get("ApproximateNumberOfMessages", 0))

    async def check(self) -> list[Check]:
        """See `Source`."""
        role = self._config.assume_role
        tried = QueueChecks(self._clients, self._config.queue_url, self._config.dead_letter_queue_url)
        checks = await tried.all(role.arn if role else None)
        keys = digest_keys(self._config)
        if keys is not None:
            checks.append(await keys.check())
            await keys.close()
        return checks

    async def close(self) -> None:
        """See `Source`."""
        if self._often is not None:
            await self._often.close()
        await self._clients.close()

    @property
    def _what(self) -> str:
        return f"queue {self._config.queue_url}"

    async def _attributes(self, *names: str) -> dict[str, str]:
        answer = await self._call("get_queue_attributes", "sqs:GetQueueAttributes", AttributeNames=list(names))
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes

    async def _call(self, operation: str, action: str, **request: Any) -> dict[str, Any]:
        """One request about the queue, or the queue in `QueueUrl`. Raises `Retryable` or `Permanent`."""
        request = {"QueueUrl": self._config.queue_url, **request}
        try:
            if self._often is not None and operation in OFTEN:
                return await self._often.call(OFTEN[operation], request)
            client = await self._clients.get("sqs")
            answer: dict[str, Any] = await getattr(client, operation)(**request)
        except Exception as error:
            what = f"queue {request['QueueUrl']}"
            raise no_such_queue(error, what) or aws.failure(error, action, what) from error
        return answer


def _in_passing(error: Exception) -> bool:
    return isinstance(error, Retryable) and error.retry_after is None


def stores(config: Config) -> dict[str, dict[str, Any]]:
    """The objects that the notices name are read as the queue is."""
    return {"s3": {"account": config.account(), "requester_pays": config.requester_pays, "reader": config.reader}}


def digest_keys(config: Config) -> TrailKeys | None:
    """With what CloudTrail's digest files are verified, when they are to be."""
    return TrailKeys(config.account()) if config.verify_digests else None


def build(name: str, config: Config, state: State) -> SqsSource:
    """The source for this queue; nothing is sent before the first `receive`. Raises `ConfigError` without the SDK."""
    aws.require_sdk()
    return SqsSource(name, config)
