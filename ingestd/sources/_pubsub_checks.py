"""What `ingestd doctor` asks about a Pub/Sub subscription: permissions, and settings that would lose messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ingestd.cloud import gcp
from ingestd.errors import IngestdError
from ingestd.model import Check
from ingestd.sources import _pubsub_backlog
from ingestd.sources._pubsub_backlog import Backlog

FEWEST_ATTEMPTS = 50
"""Kills, drains and lost leases use up deliveries too: a policy that gives up earlier sets good messages aside."""
CONSUME, SUBSCRIBER = "pubsub.subscriptions.consume", "Pub/Sub Subscriber"
PUBLISH, PUBLISHER = "pubsub.topics.publish", "Pub/Sub Publisher"

Call = Callable[..., Awaitable[Any]]
"""Method, request, and class of the answer, as `PubSubSource` calls the service."""


async def tried(subscription: str, dead_letter_topic: str | None, call: Call, backlog: Backlog | None) -> list[Check]:
    """One check for each permission that is needed, and one for the subscription's settings."""
    checks = [await _permission(subscription, CONSUME, SUBSCRIBER, call)]
    if dead_letter_topic is not None:
        checks.append(await _permission(dead_letter_topic, PUBLISH, PUBLISHER, call))
    if checks[0].ok:
        checks.append(await _settings(subscription, call))
    if backlog is not None:
        checks.append(await _count(subscription, backlog))
    return checks


async def _permission(resource: str, permission: str, role: str, call: Call) -> Check:
    from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest, TestIamPermissionsResponse

    what = f"{permission} on {resource}"
    request = TestIamPermissionsRequest(resource=resource, permissions=[permission])
    try:
        answer = await call(
            "TestIamPermissions",
            request,
            TestIamPermissionsResponse,
            topic=resource,
            service="google.iam.v1.IAMPolicy",
        )
    except IngestdError as error:
        return Check(what=what, ok=False, detail=str(error))
    if permission in answer.permissions:
        return Check(what=what, ok=True)
    return Check(what=what, ok=False, detail=f"not allowed; the role {role} has it", missing_permission=permission)


async def _settings(subscription: str, call: Call) -> Check:
    """Whether the subscription is one that can be read so; only doctor needs the permission for it."""
    from google.pubsub_v1.types import GetSubscriptionRequest, Subscription

    what = f"settings of {subscription}"
    request = GetSubscriptionRequest.pb()(subscription=subscription)
    try:
        found = await call("GetSubscription", request, Subscription.pb())
    except IngestdError as error:
        if gcp.code_of(error.__cause__ or error) == "PERMISSION_DENIED":
            return Check(what=what, ok=True, detail="not looked at: pubsub.subscriptions.get is missing")
        return Check(what=what, ok=False, detail=str(error))
    attempts = found.dead_letter_policy.max_delivery_attempts
    if found.push_config.push_endpoint or found.bigquery_config.table or found.cloud_storage_config.bucket:
        return Check(what=what, ok=False, detail="it delivers by itself; make a pull subscription")
    if found.dead_letter_policy.dead_letter_topic and attempts < FEWEST_ATTEMPTS:
        detail = f"it gives up after {attempts} deliveries, and restarts count as such: set 100"
        return Check(what=what, ok=False, detail=detail)
    return Check(what=what, ok=True)


async def _count(subscription: str, backlog: Backlog) -> Check:
    what = f"{_pubsub_backlog.LIST} for the backlog of {subscription}"
    try:
        count = await backlog.count()
    except IngestdError as error:
        missing = _pubsub_backlog.LIST if _pubsub_backlog.LIST in str(error) else ""
        return Check(what=what, ok=False, detail=str(error), missing_permission=missing)
    return Check(what=what, ok=True, detail="there is no count yet" if count is None else "")
