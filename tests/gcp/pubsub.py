"""A server that speaks Pub/Sub's gRPC on loopback: topics, subscriptions, unary pulls, and faults as it is told.

No server that does this can be installed from a registry. It is held to what Google's own client expects of Pub/Sub
by `test_pubsub_server.py`. Streaming pulls, filters, snapshots and push are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.iam.v1 import iam_policy_pb2
from google.protobuf import any_pb2, empty_pb2
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.gcp.queueing import Broker, Held, Message, Settings

LONGEST_PULL_SECS = 5.0
"""How long a pull waits; the real service is more patient."""
LONGEST_LEASE_SECS = 600
LARGEST_PULL = 1_000
THREADS = 32

Pb = Any
"""A protobuf message."""


@dataclass
class Fault:
    """Refuse a call; `after` says that it is done all the same."""

    code: grpc.StatusCode
    after: bool = False
    details: str = "told to fail"


Rule = Callable[[str, Pb], Fault | None]
"""Method, such as `Pull`, and its request."""


@dataclass
class PubSub:
    """A running server. `rule` is asked about each call; `missing` are permissions that nobody has."""

    broker: Broker = field(default_factory=Broker)
    address: str = ""
    rule: Rule = lambda method, request: None
    missing: set[str] = field(default_factory=set)
    seen: list[tuple[str, Pb]] = field(default_factory=list)

    # --- topics ---

    def create_topic(self, request: Pb, context: Any) -> Pb:
        self.broker.topics.setdefault(request.name, [])
        return request

    def publish(self, request: Pb, context: Any) -> Pb:
        if request.topic not in self.broker.topics:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={request.topic}).")
        for message in request.messages:
            if any(name.startswith("goog") or len(value) > 1024 for name, value in message.attributes.items()):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an attribute is not allowed")
            if len(message.attributes) > 100 or not (message.data or message.attributes):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too many attributes, or nothing at all")
        ids = [
            self.broker.publish(request.topic, Message(one.data, dict(one.attributes), one.ordering_key))
            for one in request.messages
        ]
        return types.PublishResponse.pb()(message_ids=ids)

    # --- subscriptions ---

    def create_subscription(self, request: Pb, context: Any) -> Pb:
        if request.topic not in self.broker.topics:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={request.topic}).")
        settings = Settings(
            topic=request.topic,
            ack_deadline_secs=request.ack_deadline_seconds or 10,
            is_ordered=request.enable_message_ordering,
            is_exactly_once=request.enable_exactly_once_delivery,
            dead_letter_topic=request.dead_letter_policy.dead_letter_topic,
            max_delivery_attempts=request.dead_letter_policy.max_delivery_attempts,
        )
        self.broker.subscribe(request.name, settings)
        return request

    def get_subscription(self, request: Pb, context: Any) -> Pb:
        if "pubsub.subscriptions.get" in self.missing:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.")
        self._must_exist(request.subscription, context)
        settings = self.broker.subscriptions[request.subscription].settings
        found = types.Subscription.pb()(
            name=request.subscription,
            topic=settings.topic,
            enable_message_ordering=settings.is_ordered,
            enable_exactly_once_delivery=settings.is_exactly_once,
        )
        if settings.max_delivery_attempts:
            found.dead_letter_policy.dead_letter_topic = settings.dead_letter_topic
            found.dead_letter_policy.max_delivery_attempts = settings.max_delivery_attempts
        return found

    def pull(self, request: Pb, context: Any) -> Pb:
        self._must_exist(request.subscription, context)
        if request.max_messages <= 0:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "max_messages must be positive")
        left = context.time_remaining()
        # a little less than the caller will wait, so that nothing is handed out that nobody takes
        wait = 0.0 if request.return_immediately else min(LONGEST_PULL_SECS, 0.9 * (left or LONGEST_PULL_SECS))
        most = min(request.max_messages, LARGEST_PULL)
        handed = self.broker.pull(request.subscription, most, wait, context.is_active)
        counts = bool(self.broker.subscriptions[request.subscription].settings.max_delivery_attempts)
        return types.PullResponse.pb()(received_messages=[_received(held, counts) for held in handed])

    def acknowledge(self, request: Pb, context: Any) -> Pb:
        self._must_exist(request.subscription, context)
        with self.broker.changed:
            subscription = self.broker.subscriptions[request.subscription]
            wrong = subscription.acknowledge(list(request.ack_ids), self.broker.now())
            self.broker.changed.notify_all()
        _abort_for(wrong, context)
        return empty_pb2.Empty()

    def modify_ack_deadline(self, request: Pb, context: Any) -> Pb:
        self._must_exist(request.subscription, context)
        if not 0 <= request.ack_deadline_seconds <= LONGEST_LEASE_SECS:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the deadline must be between 0 and 600 seconds")
        with self.broker.changed:
            subscription = self.broker.subscriptions[request.subscription]
            wrong = subscription.modify(list(request.ack_ids), request.ack_deadline_seconds, self.broker.now())
            self.broker.changed.notify_all()
        _abort_for(wrong, context)
        return empty_pb2.Empty()

    def test_permissions(self, request: Pb, context: Any) -> Pb:
        if request.resource not in {**self.broker.topics, **self.broker.subscriptions}:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={request.resource}).")
        granted = [one for one in request.permissions if one not in self.missing]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    def _must_exist(self, name: str, context: Any) -> None:
        if name not in self.broker.subscriptions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")

    # --- gRPC ---

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """All methods, as gRPC wants them."""
        publisher = {
            "CreateTopic": (self.create_topic, types.Topic.pb()),
            "Publish": (self.publish, types.PublishRequest.pb()),
        }
        subscriber = {
            "CreateSubscription": (self.create_subscription, types.Subscription.pb()),
            "GetSubscription": (self.get_subscription, types.GetSubscriptionRequest.pb()),
            "Pull": (self.pull, types.PullRequest.pb()),
            "Acknowledge": (self.acknowledge, types.AcknowledgeRequest.pb()),
            "ModifyAckDeadline": (self.modify_ack_deadline, types.ModifyAckDeadlineRequest.pb()),
        }
        policy = {"TestIamPermissions": (self.test_permissions, iam_policy_pb2.TestIamPermissionsRequest)}
        services = {
            "google.pubsub.v1.Publisher": publisher,
            "google.pubsub.v1.Subscriber": subscriber,
            "google.iam.v1.IAMPolicy": policy,
        }
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    name: grpc.unary_unary_rpc_method_handler(
                        self._faulty(name, method),
                        request_deserializer=request.FromString,
                        response_serializer=lambda answer: answer.SerializeToString(),
                    )
                    for name, (method, request) in methods.items()
                },
            )
            for service, methods in services.items()
        ]

    def _faulty(self, name: str, method: Callable[[Pb, Any], Pb]) -> Callable[[Pb, Any], Pb]:
        def call(request: Pb, context: Any) -> Pb:
            self.seen.append((name, request))
            fault = self.rule(name, request)
            if fault is not None and not fault.after:
                context.abort(fault.code, fault.details)
            answer = method(request, context)
            if fault is not None:
                context.abort(fault.code, fault.details)
            return answer

        return call


def _received(held: Held, counts: bool) -> Pb:
    message = types.PubsubMessage.pb()(
        data=held.message.data,
        attributes=held.message.attributes,
        message_id=held.message.message_id,
        ordering_key=held.message.ordering_key,
    )
    message.publish_time.FromNanoseconds(int(held.message.published_at * 1e9))
    return types.ReceivedMessage.pb()(
        ack_id=held.ack_id, message=message, delivery_attempt=held.attempts if counts else 0
    )


def _abort_for(wrong: dict[str, str], context: Any) -> None:
    """Say which ids were refused, where Pub/Sub does."""
    if not wrong:
        return
    detail = any_pb2.Any()
    detail.Pack(
        error_details_pb2.ErrorInfo(
            reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=wrong
        )
    )
    status = status_pb2.Status(
        code=grpc.StatusCode.FAILED_PRECONDITION.value[0],
        message="Some acknowledgement ids were refused.",
        details=[detail],
    )
    context.abort_with_status(rpc_status.to_status(status))


@contextmanager
def running() -> Iterator[PubSub]:
    """Start a server on a port of its own; stop it at the end."""
    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    pubsub = PubSub()
    for handler in pubsub.handlers():
        server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    pubsub.address = f"127.0.0.1:{port}"
    server.start()
    try:
        yield pubsub
    finally:
        server.stop(None).wait()
