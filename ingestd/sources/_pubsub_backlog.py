"""How many messages wait in a subscription. Pub/Sub itself does not say; Cloud Monitoring does, some minutes late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from ingestd.cloud import gcp
from ingestd.cloud.proxies import proxy_for
from ingestd.errors import IngestdError, Retryable

LIST, VIEWER = "monitoring.timeSeries.list", "Monitoring Viewer"
METRIC = "pubsub.googleapis.com/subscription/num_undelivered_messages"
SAMPLED_SECS = 60.0
"""How often the service counts: it is asked no more often."""
ANSWER_SECS = 10.0
LOOKED_BACK = timedelta(minutes=10)
"""Counts come up to four minutes late."""


class Backlog:
    """The newest count of a subscription's messages that are not acknowledged, those that are held included."""

    def __init__(self, subscription: str, endpoint: str, clients: gcp.Clients, *, clock: Callable[[], float]) -> None:
        _, self._project, _, self._name = subscription.split("/")
        self._endpoint = endpoint
        self._clients = clients
        self._proxy = proxy_for(endpoint)
        self._clock = clock
        self._asked_at = float("-inf")
        self._count: int | None = None

    async def count(self) -> int | None:
        """The newest count, None when there is none. Raises `Retryable`."""
        if self._clock() - self._asked_at >= SAMPLED_SECS:
            self._asked_at = self._clock()
            self._count = None
            self._count = newest(await self._ask())
        return self._count

    async def _ask(self) -> bytes:
        from aiohttp import ClientTimeout

        now = datetime.fromtimestamp(self._clock(), UTC)
        query = {
            "filter": f'metric.type="{METRIC}" AND resource.labels.subscription_id="{self._name}"',
            "interval.startTime": (now - LOOKED_BACK).isoformat(),
            "interval.endTime": now.isoformat(),
        }
        url = f"{self._endpoint}/v3/projects/{self._project}/timeSeries"
        try:
            headers = await self._clients.headers(self._endpoint)
            session = await self._clients.session()
            patience = ClientTimeout(total=ANSWER_SECS)
            async with session.get(
                url, params=query, headers=headers, allow_redirects=False, proxy=self._proxy, timeout=patience
            ) as answer:
                body: bytes = await answer.read()
        except IngestdError:
            raise
        except Exception as error:
            raise Retryable(f"Cloud Monitoring: {type(error).__name__}: {gcp.told(error)}") from error
        if answer.status == 403:
            raise Retryable(
                f"not allowed; the permission {LIST} on projects/{self._project} is missing, see {VIEWER}"
            )
        if answer.status != 200:
            raise Retryable(f"Cloud Monitoring answers {answer.status}")
        return body


class _Value(msgspec.Struct):
    int64Value: str  # noqa: N815 - the API's names


class _Point(msgspec.Struct):
    value: _Value


class _Series(msgspec.Struct):
    points: list[_Point] = []


class _Answer(msgspec.Struct):
    timeSeries: list[_Series] = []  # noqa: N815


def newest(body: bytes) -> int | None:
    """The count in an answer, whose points begin with the newest. Raises `Retryable` for what is no such answer."""
    try:
        found = msgspec.json.decode(body, type=_Answer)
        counts = [int(series.points[0].value.int64Value) for series in found.timeSeries if series.points]
    except (msgspec.MsgspecError, ValueError) as error:
        raise Retryable("Cloud Monitoring: the answer cannot be read") from error
    return sum(counts) if counts else None
