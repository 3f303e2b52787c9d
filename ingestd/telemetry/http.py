"""The admin port: metrics for Prometheus, health for supervisors, status for people, and a few admin calls.

`/metrics` · `/healthz`, `/-/healthy` · `/readyz`, `/-/ready` · `/status` · with `admin` `POST /-/reload` and
`POST /-/log-level` · with `debug` `/debug/tasks` and `/debug/stacks`. With a token, all but the health checks need it
as `Authorization: Bearer …`. Answers carry no secret and nothing of any record.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from ingestd import __version__
from ingestd.errors import IngestdError, Retryable
from ingestd.telemetry import catalogue, logs, occurrences, stacks
from ingestd.telemetry.health import Health

MAX_BODY_BYTES = 4_096

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the port needs of the configuration, with the secret resolved late by `token`."""

    host: str
    port: int
    token: Callable[[], str] | None = None
    certificate: str | None = None
    key: str | None = None
    admin: bool = False
    debug: bool = False


class AdminServer:
    """The server. `status` gives daemon facts, `reload` applies a new configuration or answers its problems."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        *,
        status: Callable[[], dict[str, Any]] = dict,
        reload: Callable[[], Awaitable[list[str]]] | None = None,
    ) -> None:
        self._settings = settings
        self._health = health
        self._status = status
        self._reload = reload
        self._runner: web.AppRunner | None = None
        self.port = settings.port
        """The port in use, once started: what the system chose when 0 was asked for."""

    async def start(self) -> None:
        """Listen. Raises `Retryable` when the address is taken or not ours."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        app.add_routes(self._routes())
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=30.0
        )
        await self._runner.setup()
        settings = self._settings
        try:
            context = _tls(settings.certificate, settings.key) if settings.certificate and settings.key else None
            await web.TCPSite(self._runner, settings.host, settings.port, ssl_context=context).start()
        except OSError as error:
            await self.close()
            raise Retryable(f"cannot serve the admin port at {settings.host}:{settings.port}: {error}") from None
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        routes = [
            web.get("/metrics", self._metrics),
            web.get("/healthz", self._alive),
            web.get("/-/healthy", self._alive),
            web.get("/readyz", self._ready),
            web.get("/-/ready", self._ready),
            web.get("/status", self._show_status),
        ]
        if self._settings.admin:
            routes.append(web.post("/-/log-level", self._set_level))
        if self._settings.admin and self._reload is not None:
            routes.append(web.post("/-/reload", self._do_reload))
        if self._settings.debug:
            routes += [web.get("/debug/tasks", _tasks), web.get("/debug/stacks", _stacks)]
        return routes

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ask for the token; refuse what a web page in a browser on this machine could send."""
        if request.method == "POST" and ("Origin" in request.headers or "Sec-Fetch-Site" in request.headers):
            raise web.HTTPForbidden(text="not from a browser\n")
        if self._settings.token is not None and request.path not in _OPEN_PATHS:
            await self._ask_for_token(request, self._settings.token)
        response = await handler(request)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    async def _ask_for_token(self, request: web.Request, token: Callable[[], str]) -> None:
        try:
            wanted = await asyncio.to_thread(token)
        except IngestdError as error:
            occurrences.token_unreadable(error)
            raise web.HTTPServiceUnavailable(text="the token of this port cannot be read\n") from None
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
            raise web.HTTPUnauthorized(text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"})

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = web.Response(body=encode(catalogue.REGISTRY), headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def _alive(self, _: web.Request) -> web.Response:
        return _verdict(self._health.why_not_alive())

    async def _ready(self, _: web.Request) -> web.Response:
        return _verdict(self._health.why_not_ready())

    async def _show_status(self, _: web.Request) -> web.Response:
        answer = {"version": __version__, **self._health.as_json(), **self._status()}
        return _json(answer)

    async def _do_reload(self, _: web.Request) -> web.Response:
        assert self._reload is not None, "the route exists with the hook only"
        problems = await self._reload()
        return _json({"applied": not problems, "problems": problems}, status=400 if problems else 200)

    async def _set_level(self, request: web.Request) -> web.Response:
        wanted = (await request.text()).strip().lower()
        for level in logs.LEVELS:
            if wanted == level:
                logs.set_level(level)
                return _json({"level": level})
        return _json({"error": f"the body is one of {', '.join(logs.LEVELS)}"}, status=400)


_OPEN_PATHS = frozenset({"/healthz", "/-/healthy", "/readyz", "/-/ready"})


def _verdict(reasons: list[str]) -> web.Response:
    if not reasons:
        return web.Response(text="ok\n")
    return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))


def _json(value: Any, *, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str)
    return web.Response(status=status, body=body, content_type="application/json")


async def _tasks(_: web.Request) -> web.Response:
    """Every asyncio task and where it waits."""
    return web.Response(text=stacks.tasks())


async def _stacks(_: web.Request) -> web.Response:
    """Every thread and where it is."""
    return web.Response(text=stacks.threads())


def _tls(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
