"""How many messages wait, by Cloud Monitoring: asked for where it is wanted, and no more often than it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from ingestd.cloud import gcp as gcp_cloud
from ingestd.errors import Retryable
from ingestd.sources._pubsub_backlog import LIST, SAMPLED_SECS, Backlog, newest
from ingestd.sources.gcp_pubsub import Config, PubSubSource
from tests.gcp.servers import Gcp


@dataclass
class Monitoring:
    """Answers one question, in the form of Cloud Monitoring's API."""

    url: str = ""
    status: int = 200
    points: list[int] = field(default_factory=list)
    """Newest first."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and filter."""
    now: float = 1_700_000_000.0

    async def answer(self, request: web.Request) -> web.Response:
        """The counts."""
        self.seen.append((request.path, request.query["filter"]))
        assert request.query["interval.startTime"] < request.query["interval.endTime"]
        points: list[dict[str, Any]] = [{"interval": {}, "value": {"int64Value": str(one)}} for one in self.points]
        series = {"metric": {}, "resource": {}, "metricKind": "GAUGE", "valueType": "INT64", "points": points}
        return web.json_response({"timeSeries": [series]} if points else {}, status=self.status)


@pytest.fixture
async def monitoring() -> AsyncIterator[Monitoring]:
    """A server on loopback."""
    made = Monitoring()
    app = web.Application()
    app.router.add_get("/v3/projects/{project}/timeSeries", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def source(gcp: Gcp, monitoring: Monitoring) -> AsyncIterator[PubSubSource]:
    """A source that asks."""
    config = Config(
        type="gcp_pubsub",
        subscription=gcp.subscription(),
        pubsub_endpoint=gcp.pubsub_url,
        backlog=True,
        monitoring_endpoint=monitoring.url,
    )
    made = PubSubSource("google", config, clock=lambda: monitoring.now)
    yield made
    await made.close()


async def test_nothing_is_asked_unless_it_is_wanted(gcp: Gcp) -> None:
    """It needs a role of its own, and is not what waits now."""
    config = Config(type="gcp_pubsub", subscription=gcp.subscription(), pubsub_endpoint=gcp.pubsub_url)
    source = PubSubSource("google", config)
    assert await source.depth() is None
    await source.close()


async def test_the_newest_count_is_the_depth(source: PubSubSource, monitoring: Monitoring) -> None:
    """Of this subscription, asked for once a minute."""
    assert await source.depth() is None
    monitoring.points = [7, 9_000]
    assert await source.depth() is None
    monitoring.now += SAMPLED_SECS
    assert [await source.depth() for _ in range(3)] == [7, 7, 7]
    assert len(monitoring.seen) == 2
    path, wanted = monitoring.seen[0]
    assert path == "/v3/projects/p/timeSeries"
    assert "subscription/num_undelivered_messages" in wanted
    assert 'subscription_id="logs-' in wanted


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_passes_and_doctor_names_the_permission(
    source: PubSubSource, monitoring: Monitoring, status: int
) -> None:
    """Messages are read all the same."""
    monitoring.status = status
    with pytest.raises(Retryable, match=LIST if status == 403 else "500"):
        await source.depth()
    monitoring.now += SAMPLED_SECS
    failed = [check for check in await source.check() if not check.ok]
    assert [check.missing_permission for check in failed] == [LIST if status == 403 else ""]
    monitoring.status, monitoring.now = 200, monitoring.now + SAMPLED_SECS
    assert all(check.ok for check in await source.check())


async def test_a_service_that_cannot_be_reached_passes(gcp: Gcp) -> None:
    """And is not asked again at once."""
    clients = gcp_cloud.Clients(gcp.account())
    backlog = Backlog("projects/p/subscriptions/logs", "http://127.0.0.1:1", clients, clock=lambda: 1_700_000_000.0)
    with pytest.raises(Retryable, match="Cloud Monitoring"):
        await backlog.count()
    assert await backlog.count() is None
    await clients.close()


BAD = [b"", b"[]", b'{"timeSeries": [{"points": [{"value": {"int64Value": "x"}}]}]}', b'{"timeSeries": 1}', b"\xff"]


@pytest.mark.parametrize("body", BAD)
def test_an_answer_of_another_form_is_told(body: bytes) -> None:
    """As one that passes."""
    with pytest.raises(Retryable, match="cannot be read"):
        newest(body)
