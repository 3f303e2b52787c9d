"""A real HTTP server on loopback that answers as the providers document, or misbehaves as told."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]

SLACK_PATH = "/services/T000/B000/slackhooksecret"
PAGERDUTY_KEY = "0123456789abcdefpagerdutykeysecr"
ASANA_TOKEN = "1/1200:asanatokensecret"
ASANA_PROJECT = "1200000000000001"
HOOK_PATH = "/hook/hookpathsecret"
HUGE_BYTES = 64 * 1024 * 1024


class Provider:
    """Slack, PagerDuty, Asana and a plain webhook in one. `script` holds misbehaviours of the next requests."""

    def __init__(self) -> None:
        self.script: deque[Script] = deque()
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        """(method, path, headers, body as JSON) of every request that was read."""
        self.slack: list[dict[str, Any]] = []
        self.pagerduty: dict[str, dict[str, Any]] = {}
        """By dedup_key, like incidents."""
        self.asana: list[dict[str, Any]] = []
        self.hook: list[dict[str, Any]] = []
        self.url = ""
        self.bytes_sent = 0
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            content = json.loads(body) if body else None
        except ValueError:
            content = None
        self.requests.append((request.method, request.path_qs, dict(request.headers), content))
        if self.script:
            return await self.script.popleft()(request)
        return self.documented(request, content)

    # --- as documented ---

    def documented(self, request: web.Request, content: Any) -> web.StreamResponse:
        """The provider's own behaviour."""
        if request.path == HOOK_PATH:
            if request.method == "POST":
                self.hook.append(content)
            return web.Response(status=204)
        if request.path.startswith("/services/"):
            return self._slack(request, content)
        if request.path == "/v2/enqueue":
            return self._pagerduty(content)
        if request.path.startswith("/api/1.0/"):
            return self._asana(request, content)
        return web.Response(status=404, text="not here")

    def _slack(self, request: web.Request, content: Any) -> web.Response:
        if request.path != SLACK_PATH:
            return web.Response(status=404, text="no_service")
        if not isinstance(content, dict) or not content.get("text"):
            return web.Response(status=400, text="no_text")
        self.slack.append(content)
        return web.Response(text="ok")

    def _pagerduty(self, content: Any) -> web.Response:
        if content.get("routing_key") != PAGERDUTY_KEY:
            errors = ["'routing_key' is invalid"]
            refused = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
            return web.json_response(refused, status=400)
        key = content["dedup_key"]
        if content["event_action"] == "trigger":
            self.pagerduty.setdefault(key, content)
        return web.json_response({"status": "success", "message": "Event processed", "dedup_key": key}, status=202)

    def _asana(self, request: web.Request, content: Any) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {ASANA_TOKEN}":
            return web.json_response({"errors": [{"message": "Not Authorized"}]}, status=401)
        if request.path == f"/api/1.0/projects/{ASANA_PROJECT}":
            return web.json_response({"data": {"gid": ASANA_PROJECT, "name": "Alerts"}})
        if request.method == "GET" and request.query.get("project") == ASANA_PROJECT:
            first, limit = int(request.query.get("offset", "0")), int(request.query["limit"])
            page = self.asana[first : first + limit]
            more = first + limit < len(self.asana)
            return web.json_response(
                {
                    "data": [{"gid": task["gid"], "name": task["name"]} for task in page],
                    "next_page": {"offset": str(first + limit)} if more else None,
                }
            )
        if request.method == "POST" and content["data"]["projects"] == [ASANA_PROJECT]:
            task = {"gid": str(9_000 + len(self.asana)), **content["data"]}
            self.asana.append(task)
            return web.json_response({"data": task}, status=201)
        return web.json_response({"errors": [{"message": "project: Not a recognized ID"}]}, status=404)

    # --- misbehaviours ---

    def status(self, code: int, text: str = "", **headers: str) -> Script:
        """Refuse with this status."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

        return answer

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Answer nothing until the server ends."""
        await self._released.wait()
        return web.Response(status=500)

    async def drop(self, request: web.Request) -> web.StreamResponse:
        """Close the connection without an answer."""
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    def cut(self, code: int) -> Script:
        """Send a status and half a body, then close the connection; what was asked for is done on a 2xx."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if code < 300:
                self.documented(request, self.requests[-1][3])
            assert request.transport is not None
            head = f"HTTP/1.1 {code} Cut\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            request.transport.write(head.encode() + b'{"data": [')
            request.transport.close()
            return web.Response()

        return answer

    def huge(self, code: int) -> Script:
        """Answer with more bytes than anyone should read."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=code)
            await response.prepare(request)
            piece = b"x" * 65_536
            try:
                while self.bytes_sent < HUGE_BYTES:
                    await response.write(piece)
                    self.bytes_sent += len(piece)
            except ConnectionError:
                return response
            return response

        return answer
