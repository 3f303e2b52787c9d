"""The admin port, asked over loopback."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingestd.errors import ConfigError, Problem, Retryable
from ingestd.telemetry import catalogue, loop
from ingestd.telemetry.health import Health
from ingestd.telemetry.http import AdminServer, Settings

TOKEN = "token-of-the-test"

Serve = Callable[..., Any]


class Port:
    """A started server and a client for it."""

    def __init__(self, server: AdminServer, session: aiohttp.ClientSession, scheme: str = "http") -> None:
        self.server = server
        self._session = session
        self._base = f"{scheme}://127.0.0.1:{server.port}"

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
        """Status and text of an answer."""
        async with self._session.request(method, self._base + path, **options) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers on free ports, which end with the test."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def serve(health: Health | None = None, scheme: str = "http", **options: Any) -> Port:
            hooks = {name: options.pop(name) for name in ("status", "reload") if name in options}
            settings = Settings(host="127.0.0.1", port=0, **options)
            server = AdminServer(settings, health or Health(), **hooks)
            await server.start()
            stack.push_async_callback(server.close)
            return Port(server, session, scheme)

        yield serve


def ready() -> Health:
    """A daemon at work."""
    health = Health()
    health.component("source", "a").ok()
    return health


async def test_metrics(serve: Serve) -> None:
    """Prometheus can read what is served, in the text format and in its newer one."""
    catalogue.MESSAGES.labels(source="a", outcome="acked").inc(3)
    port = await serve()
    status, text = await port.ask("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert status == 200
    assert families["ingestd_messages"].samples[0].value == 3
    _, newer = await port.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert newer.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/healthz", "/-/healthy"])
async def test_health(serve: Serve, path: str) -> None:
    """Alive is 200, not alive is 503 with the reasons, under both usual names."""
    health = ready()
    port = await serve(health)
    assert await port.ask(path) == (200, "ok\n")
    health.component("state").failed("disk is gone", fatal=True)
    assert await port.ask(path) == (503, "state: disk is gone\n")


@pytest.mark.parametrize("path", ["/readyz", "/-/ready"])
async def test_readiness(serve: Serve, path: str) -> None:
    """Ready is 200, not ready is 503 with the reasons."""
    health = ready()
    port = await serve(health)
    assert await port.ask(path) == (200, "ok\n")
    health.draining = True
    assert await port.ask(path) == (503, "draining\n")


async def test_status(serve: Serve) -> None:
    """Status is JSON with every component and what the daemon adds."""
    health = ready()
    health.component("source", "a").failing("slow")
    port = await serve(health, status=lambda: {"sources": {"a": {"lag": 5}}})
    _, text = await port.ask("/status")
    body = json.loads(text)
    assert body["components"]["source"]["a"]["state"] == "recoverable_error"
    assert body["components"]["source"]["a"]["last_error"] == "slow"
    assert body["sources"] == {"a": {"lag": 5}}
    assert body["ready"] is False


@pytest.mark.parametrize("path", ["/metrics", "/status", "/debug/tasks"])
async def test_a_token_is_asked_for(serve: Serve, path: str) -> None:
    """With a token everything but the health checks needs it, and no answer repeats it."""
    port = await serve(ready(), token=lambda: TOKEN, debug=True)
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ):
        status, text = await port.ask(path, headers=headers)
        assert status == 401
        assert TOKEN not in text
    status, text = await port.ask(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert status == 200
    assert TOKEN not in text
    assert (await port.ask("/healthz"))[0] == 200
    assert (await port.ask("/readyz"))[0] == 200


async def test_a_token_that_cannot_be_read(serve: Serve) -> None:
    """When the token is not where it should be, nobody gets in, and health is still answered."""

    def gone() -> str:
        raise ConfigError([Problem("the secret file /run/token cannot be read")])

    port = await serve(ready(), token=gone)
    status, text = await port.ask("/status", headers={"Authorization": "Bearer "})
    assert (status, text) == (503, "the token of this port cannot be read\n")
    assert (await port.ask("/healthz"))[0] == 200
    assert catalogue.value("ingestd_errors_total", stage="http", error_type="config") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/-/reload"), ("POST", "/-/log-level"), ("GET", "/debug/tasks"), ("GET", "/debug/stacks")],
)
async def test_what_is_off_by_default(serve: Serve, method: str, path: str) -> None:
    """Admin calls and debugging pages do not exist unless they are asked for."""
    port = await serve()
    assert (await port.ask(path, method))[0] == 404


async def test_debug_pages(serve: Serve) -> None:
    """Tasks and threads are shown with the line where each one is."""
    port = await serve(debug=True)
    _, tasks = await port.ask("/debug/tasks")
    assert "test_debug_pages" in tasks
    _, stacks = await port.ask("/debug/stacks")
    assert "MainThread" in stacks


async def test_reload(serve: Serve) -> None:
    """A reload answers 200 when it was applied and 400 with the problems when it was not."""
    answers: list[list[str]] = [[], ["ingestd.yml:3: lake.urll: unknown key"]]

    async def reload() -> list[str]:
        return answers.pop(0)

    port = await serve(admin=True, reload=reload)
    assert (await port.ask("/-/reload", "POST"))[0] == 200
    status, text = await port.ask("/-/reload", "POST")
    assert status == 400
    assert "ingestd.yml:3" in text
    assert (await port.ask("/-/reload", "GET"))[0] == 405


@pytest.mark.parametrize("header", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_web_page_cannot_call_admin(serve: Serve, header: dict[str, str]) -> None:
    """What a browser sends for a page is refused, so that no page can steer a daemon on the reader's machine."""
    port = await serve(admin=True)
    assert (await port.ask("/-/log-level", "POST", headers=header, data="debug"))[0] == 403


@pytest.mark.usefixtures("restored_logging")
async def test_log_level(serve: Serve) -> None:
    """The level changes while the daemon runs; another word is refused with the list."""
    port = await serve(admin=True)
    assert (await port.ask("/-/log-level", "POST", data="debug"))[0] == 200
    status, text = await port.ask("/-/log-level", "POST", data="loud")
    assert status == 400
    assert "debug, info, warning, error" in text
    assert (await port.ask("/-/log-level", "POST", data="x" * 10_000))[0] == 413


async def test_a_taken_port(serve: Serve) -> None:
    """A port that another holds is an error that names the address."""
    port = await serve()
    with pytest.raises(Retryable, match=f"127.0.0.1:{port.server.port}"):
        await AdminServer(Settings(host="127.0.0.1", port=port.server.port), Health()).start()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 and its key, as files."""
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    make += f" -addext subjectAltName=IP:127.0.0.1 -out {certificate} -keyout {key}"
    subprocess.run(make.split(), check=True, capture_output=True)
    return certificate, key


async def test_tls(serve: Serve, certificate: tuple[str, str]) -> None:
    """With a certificate the port speaks HTTPS."""
    port = await serve(ready(), "https", certificate=certificate[0], key=certificate[1])
    context = ssl.create_default_context(cafile=certificate[0])
    assert await port.ask("/healthz", ssl=context) == (200, "ok\n")


async def test_closing_twice_and_unstarted() -> None:
    """Closing needs no start before it and may be repeated."""
    server = AdminServer(Settings(host="127.0.0.1", port=0), Health())
    await server.close()
    await server.start()
    await server.close()
    await server.close()


async def test_the_pulse() -> None:
    """The watch observes the loop's lateness and says that it turned."""
    health = Health()
    health.loop_turned_at = 0.0
    turned = asyncio.Event()
    health.turned = turned.set  # type: ignore[method-assign]
    task = asyncio.create_task(loop.watch(health))
    await asyncio.wait_for(turned.wait(), 10)
    task.cancel()
    assert catalogue.value("ingestd_loop_lag_seconds_count") >= 1
