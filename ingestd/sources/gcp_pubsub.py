"""A Pub/Sub subscription as a source: of notifications from Cloud Storage, or of log events themselves.

Messages are pulled by unary calls on the SDK's channel, with the plain protobuf classes: the SDK's own objects take
more than twice the CPU a message, its threads many times that. A pull goes on when nobody waits for it any more: one
that is cut off can take messages along; what it brings is handed out by the next `receive`.

Leases are ack deadlines. A pull gives the subscription's own, often ten seconds, so each is followed by a call that
sets ours. Only a subscription that delivers exactly once says which messages are no longer ours; with any other, what
was not extended in time counts as lost.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

import msgspec
from pydantic import Field

from ingestd.cloud import gcp
from ingestd.config.gcp import Endpoint, GcpConfig
from ingestd.config.models import Seconds, SourceConfig
from ingestd.errors import IngestdError, Retryable
from ingestd.failpoints import hit
from ingestd.model import Check, Delivery
from ingestd.sources._pubsub_backlog import Backlog
from ingestd.sources._pubsub_checks import CONSUME, PUBLISH, PUBLISHER, SUBSCRIBER, tried
from ingestd.sources._pubsub_letters import letter_attributes
from ingestd.sources.base import Source
from ingestd.state.base import State

PULLS = 2
"""Pulls under way at once: while one brings messages, another waits for the next."""
LARGEST_PULL = 1_000
"""Messages per pull, which is the service's limit."""
PULL_SECS = 60.0
"""How long a pull waits for a message."""
LEAST_WAIT_SECS = 1.0
"""An empty subscription does not say so: nothing came within this time."""
EMPTY_PAUSE_SECS = 0.1
"""Between pulls that brought nothing; the service may answer so at once."""
BATCH = 1_000
"""Ids per call: a request may have 512 KiB, and an id has about 200 bytes."""
CALL_SECS = 30.0
ATTEMPTS = 3
LONGEST_LEASE_SECS = 600
"""The service's limit for one extension. There is none for a lease in all, but the subscription's retention."""
LEAST_LEASE_SECS = 10
"""The shortest deadline that a subscription can have."""
SOON_SECS = 30
"""Messages given back for no longer than this are part of what `run --once` finds."""
HELD_BYTES = 256 * 1024 * 1024
"""Of messages that are held: beyond this nothing more is pulled, however few they are."""

Name = r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
Project = r"[a-z0-9.:\-]+"


class Config(SourceConfig, GcpConfig):
    """Reads a Pub/Sub subscription: the objects that Cloud Storage's notifications name, or log events themselves."""

    payload_may_be_found: ClassVar[bool] = True

    subscription: Annotated[str, Field(pattern=rf"^projects/{Project}/subscriptions/{Name}$")]
    """Full name, `projects/PROJECT/subscriptions/NAME`. A pull subscription, without push or export."""
    dead_letter_topic: Annotated[str, Field(pattern=rf"^projects/{Project}/topics/{Name}$")] | None = None
    """Topic, `projects/PROJECT/topics/NAME`, for messages that failed for good, with the reason as attributes.
    Without one they are only kept in the table `rejects`."""
    payload: Literal["notification", "message", "auto"] = "auto"
    """What the messages are: notifications about objects, or log events themselves. `auto` tells by the attributes
    that Cloud Storage gives its notifications, message by message."""
    billing_project: Annotated[str, Field(pattern=rf"^{Project}$")] | None = None
    """Project that pays for reading from buckets whose readers have to (requester pays)."""
    backlog: bool = False
    """Whether Cloud Monitoring is asked once a minute how many messages are not acknowledged, for the metric
    `ingestd_queue_depth`. The figure is some minutes old; it needs the role Monitoring Viewer on the project."""
    monitoring_endpoint: Endpoint = gcp.MONITORING
    """Address of Cloud Monitoring. With `http:` no credentials are sent."""
    lease_secs: Annotated[Seconds, Field(ge=LEAST_LEASE_SECS, le=LONGEST_LEASE_SECS)] = 600
    """How long a message is ours at a time; it is extended at half. After a crash, messages that were held come again
    when this is over."""


class PubSubSource(Source):
    """See the module."""

    lease_limit_secs = math.inf

    def __init__(self, name: str, config: Config, *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.lease_secs = config.lease_secs
        self._config = config
        self._clock = clock
        self._clients = gcp.Clients(config.to_account())
        self._pulls: dict[asyncio.Task[list[Delivery]], int] = {}
        """Under way, or done and not looked at → messages asked for."""
        self._ready: deque[Delivery] = deque()
        """Came by a pull, and not handed out yet."""
        self._held: dict[str, int] = {}
        """Message id → bytes, of those that are ours."""
        self._held_bytes = 0
        self._given_back_until = 0.0
        self._stopping = False
        self._backlog: Backlog | None = None
        if config.backlog:
            endpoint = config.monitoring_endpoint.rstrip("/")
            self._backlog = Backlog(config.subscription, endpoint, self._clients, clock=clock)

    # --- receive ---

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. Even with `wait_secs` 0 a second is waited; and for what was given back a moment ago."""
        now = self._clock()
        deadline = now + max(wait_secs, LEAST_WAIT_SECS)
        if not wait_secs:
            deadline = max(deadline, self._given_back_until)
        while True:
            failure = self._collect()
            if received := self._hand_out(limit):
                return received
            if failure is not None:
                raise failure
            left = deadline - self._clock()
            if left <= 0 or self._stopping:
                return []
            self._pull_up_to(limit)
            if self._pulls:
                await asyncio.wait(self._pulls, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(min(left, EMPTY_PAUSE_SECS))

    def _pull_up_to(self, limit: int) -> None:
        """Have pulls under way that together ask for no more than is wanted."""
        share = min(math.ceil(limit / PULLS), LARGEST_PULL)
        while len(self._pulls) < PULLS and self._held_bytes < HELD_BYTES:
            count = min(share, limit - sum(self._pulls.values()) - len(self._ready))
            if count <= 0:
                return
            self._pulls[asyncio.create_task(self._pull(count), name=f"pull {self.name}")] = count

    def _collect(self) -> Exception | None:
        """Take what pulls have brought; the failure of one."""
        failure = None
        for task in [task for task in self._pulls if task.done()]:
            del self._pulls[task]
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                self._ready.extend(task.result())
            elif isinstance(error, Exception):
                failure = error
        return failure

    def _hand_out(self, limit: int) -> list[Delivery]:
        """The next messages whose lease still holds; others come again by themselves."""
        handed: list[Delivery] = []
        now = self._clock()
        while self._ready and len(handed) < limit:
            delivery = self._ready.popleft()
            if delivery.lease_until > now:
                self._let_go(delivery)
                self._held[delivery.message_id] = len(delivery.body)
                self._held_bytes += len(delivery.body)
                handed.append(delivery)
        return handed

    async def _pull(self, count: int) -> list[Delivery]:
        from google.pubsub_v1.types import PullRequest, PullResponse

        request = PullRequest.pb()(subscription=self._config.subscription, max_messages=count)
        asked_at = self._clock()
        try:
            answer = await self._call("Pull", request, PullResponse.pb(), timeout=PULL_SECS)
        except Retryable as error:
            if gcp.code_of(error.__cause__ or error) != "DEADLINE_EXCEEDED":
                raise
            return []
        if not answer.received_messages:
            await asyncio.sleep(EMPTY_PAUSE_SECS)
            return []
        now = self._clock()
        until = max(asked_at, now - 1.0) + LEAST_LEASE_SECS
        pulled = [self._delivery(one, now, until) for one in answer.received_messages]
        return await self._lengthen(pulled)

    async def _lengthen(self, pulled: list[Delivery]) -> list[Delivery]:
        """Give messages our lease. When that fails in passing, they have the shortest that there is, so that they are
        extended next."""
        outcome = await self._change_deadlines(pulled, self.lease_secs)
        return [delivery for delivery, is_ours in zip(*outcome, strict=True) if is_ours is not False]

    def _delivery(self, received: Any, now: float, until: float) -> Delivery:
        message = received.message
        return Delivery(
            source=self.name,
            message_id=message.message_id,
            body=message.data,
            attributes=dict(message.attributes),
            receipt=received.ack_id,
            received_at=now,
            sent_at=message.publish_time.seconds + message.publish_time.nanos / 1e9,
            lease_until=until,
            receive_count=received.delivery_attempt or 1,
        )

    # --- what becomes of held messages ---

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        now = self._clock()
        ours = [one for one in deliveries if one.message_id in self._held and one.lease_until > now]
        extended, outcomes = await self._change_deadlines(ours, lease_secs)
        kept = [delivery for delivery, is_ours in zip(extended, outcomes, strict=True) if is_ours is not False]
        kept_ids = {delivery.message_id for delivery in kept}
        for delivery in deliveries:
            if delivery.message_id not in kept_ids:
                self._let_go(delivery)
        if ours and all(outcome is None for outcome in outcomes):
            raise Retryable(f"{self._what}: no lease could be extended")
        return kept

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        ours = [one for one in deliveries if one.message_id in self._held]
        _, outcomes = await self._change_deadlines(ours, delay_secs)
        for delivery, outcome in zip(ours, outcomes, strict=True):
            if outcome is not None:
                self._let_go(delivery)
        if ours and delay_secs <= SOON_SECS:
            self._given_back_until = max(self._given_back_until, self._clock() + delay_secs + 1)
        if any(outcome is None for outcome in outcomes):
            raise Retryable(f"{self._what}: messages could not be given back")

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`."""
        if not deliveries:
            return
        hit("source.before_ack")
        from google.protobuf.empty_pb2 import Empty
        from google.pubsub_v1.types import AcknowledgeRequest

        ours = [one for one in deliveries if one.message_id in self._held]

        async def acknowledge(ids: list[str]) -> None:
            request = AcknowledgeRequest.pb()(subscription=self._config.subscription, ack_ids=ids)
            await self._call("Acknowledge", request, Empty)

        outcomes = await self._in_batches([one.receipt for one in ours], acknowledge)
        for delivery in ours:
            if outcomes[delivery.receipt] is not None:
                self._let_go(delivery)
        if any(outcome is None for outcome in outcomes.values()):
            raise Retryable(f"{self._what}: messages could not be acknowledged")
        hit("source.after_ack")

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`."""
        topic = self._config.dead_letter_topic
        if topic is not None:
            from google.pubsub_v1.types import PublishRequest, PublishResponse

            attributes = letter_attributes(delivery, reason, detail)
            request = PublishRequest.pb()(topic=topic, messages=[{"data": delivery.body, "attributes": attributes}])
            await self._call("Publish", request, PublishResponse.pb(), topic=topic)
        await self.ack([delivery])

    def _let_go(self, delivery: Delivery) -> None:
        self._held_bytes -= self._held.pop(delivery.message_id, 0)

    async def _change_deadlines(
        self, deliveries: Sequence[Delivery], secs: float
    ) -> tuple[list[Delivery], list[bool | None]]:
        """The deliveries as they are then, and for each whether it is ours; None where that could not be asked."""
        from google.protobuf.empty_pb2 import Empty
        from google.pubsub_v1.types import ModifyAckDeadlineRequest

        whole = min(math.ceil(secs), LONGEST_LEASE_SECS)
        asked_at = self._clock()

        async def change(ids: list[str]) -> None:
            request = ModifyAckDeadlineRequest.pb()(
                subscription=self._config.subscription, ack_ids=ids, ack_deadline_seconds=whole
            )
            await self._call("ModifyAckDeadline", request, Empty)

        outcomes = await self._in_batches([one.receipt for one in deliveries], change)
        until = asked_at + whole
        changed = [
            msgspec.structs.replace(one, lease_until=until) if outcomes[one.receipt] else one for one in deliveries
        ]
        return changed, [outcomes[one.receipt] for one in deliveries]

    async def _in_batches(self, ids: list[str], act: Callable[[list[str]], Any]) -> dict[str, bool | None]:
        """Do it to all ids, many to a call; for each whether it was done, False for what is not ours any more, None
        where a call failed. Refusals, such as of a missing permission, are raised when every batch was tried."""
        starts = range(0, len(ids), BATCH)
        answers = await asyncio.gather(
            *(self._batch(ids[start : start + BATCH], act) for start in starts), return_exceptions=True
        )
        outcomes: dict[str, bool | None] = {}
        refusals: list[BaseException] = []
        for start, answer in zip(starts, answers, strict=True):
            if isinstance(answer, BaseException):
                refusals.append(answer)
            else:
                outcomes |= answer
            for one in ids[start : start + BATCH]:
                outcomes.setdefault(one, None)
        if refusals:
            raise refusals[0]
        return outcomes

    async def _batch(self, ids: list[str], act: Callable[[list[str]], Any]) -> dict[str, bool | None]:
        outcomes: dict[str, bool | None] = dict.fromkeys(ids)
        left = ids
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await act(left)
            except Retryable as error:
                if error.retry_after is not None:
                    raise
                refused = gcp.refused_ids(error.__cause__ or error)
                gone = {one for one, why in refused.items() if why.startswith("PERMANENT_")}
                outcomes |= {one: False for one in left if one in gone}
                left = [one for one in left if one not in gone]
                if left and not gone and attempt < ATTEMPTS:
                    await asyncio.sleep(0.05 * 2**attempt)
            else:
                outcomes |= dict.fromkeys(left, True)
                left = []
            if not left:
                break
        return outcomes

    # --- the rest ---

    async def depth(self) -> int | None:
        """See `Source`. Those that are held are counted too, and all of them as they were some minutes ago."""
        return None if self._backlog is None else await self._backlog.count()

    async def check(self) -> list[Check]:
        """See `Source`. Asks the service which permissions we have."""
        return await tried(self._config.subscription, self._config.dead_letter_topic, self._call, self._backlog)

    def stop(self) -> None:
        """See `Source`."""
        self._stopping = True
        for task in self._pulls:
            task.cancel()

    async def close(self) -> None:
        """See `Source`. What came and was not handed out is given back."""
        self.stop()
        await asyncio.gather(*self._pulls, return_exceptions=True)
        self._collect()
        if self._ready:
            unused = list(self._ready)
            self._ready.clear()
            try:
                await self._change_deadlines(unused, 0)
            except IngestdError:
                unused = []  # they come again when their leases end
        await self._clients.close()

    @property
    def _what(self) -> str:
        return self._config.subscription

    async def _call(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        topic: str = "",
        service: str = "",
        timeout: float = CALL_SECS,  # noqa: ASYNC109 - gRPC's own, which the server is told
    ) -> Any:
        """One call, about the subscription or a topic. Raises `Retryable` or `Permanent`."""
        about = topic or self._config.subscription
        permission, role = (PUBLISH, PUBLISHER) if topic else (CONSUME, SUBSCRIBER)
        service = service or ("google.pubsub.v1.Publisher" if topic else "google.pubsub.v1.Subscriber")
        parameter = "topic" if topic else "subscription"
        try:
            channel = await self._clients.channel()
            call = channel.unary_unary(
                f"/{service}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
            metadata = (("x-goog-request-params", f"{parameter}={quote(about, safe='')}"),)
            return await call(request, timeout=timeout, metadata=metadata)
        except Exception as error:
            why = gcp.rpc_failure(error, permission, role, about)
            if isinstance(why, Retryable) and why.retry_after is not None:
                await self._clients.refused()
            raise why from error


def stores(config: Config) -> dict[str, dict[str, Any]]:
    """The objects that notifications name are read as the subscription is."""
    return {"gs": {"account": config.to_account(), "billing_project": config.billing_project}}


def build(name: str, config: Config, state: State) -> PubSubSource:
    """The source for this subscription; nothing is sent before the first `receive`. Raises `ConfigError` without the
    SDK."""
    gcp.require_sdk()
    return PubSubSource(name, config)
