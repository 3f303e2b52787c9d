"""A reverse proxy on loopback that fails as it is told: what no local server does by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}
S3_ERROR = (
    '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message><Region>{region}</Region></Error>'
)


@dataclass
class Seen:
    """A request that came by."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """`sqs ReceiveMessage`, `sts AssumeRole`, `s3 GET`."""
        target = self.headers.get("X-Amz-Target", "")
        if target:
            return f"sqs {target.rpartition('.')[2]}"
        action = self.form.get("Action")
        return f"sts {action}" if action else f"s3 {self.method}"

    @property
    def form(self) -> dict[str, str]:
        """Parameters of a form-encoded request."""
        if b"Action=" not in self.body:
            return {}
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Refuse:
    """Answer with this error and do not ask the server."""

    status: int
    code: str = "InternalError"
    message: str = "told to fail"
    region: str = ""


@dataclass(frozen=True)
class Cut:
    """Break the connection after this many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Ask:
    """Ask the server with these query parameters added."""

    query: dict[str, str]


@dataclass(frozen=True)
class Hold:
    """Ask the server only when this has happened."""

    until: asyncio.Event


@dataclass(frozen=True)
class Delay:
    """Ask the server only after so many seconds."""

    secs: float


@dataclass(frozen=True)
class Drip:
    """Send half of the body, and the rest after so many seconds."""

    secs: float


Fault = Refuse | Cut | Ask | Hold | Delay | Drip
Rule = Callable[[Seen], Fault | None]


@dataclass
class Proxy:
    """`faults` are used up one by one, each by the next request of its operation; then `rule` is asked."""

    target: str
    url: str = ""
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    rule: Rule = lambda seen: None
    seen: list[Seen] = field(default_factory=list)

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let the next requests of this operation fail so."""
        self.faults += [(operation, fault) for fault in faults]

    def operations(self, wanted: str) -> list[Seen]:
        """The requests of this operation, in order."""
        return [seen for seen in self.seen if seen.operation == wanted]

    def _fault(self, seen: Seen) -> Fault | None:
        for at, (operation, fault) in enumerate(self.faults):
            if operation == seen.operation:
                del self.faults[at]
                return fault
        return self.rule(seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, or fail it."""
        seen = Seen(request.method, request.raw_path, dict(request.headers), await request.read())
        self.seen.append(seen)
        fault = self._fault(seen)
        if isinstance(fault, Refuse):
            return _refusal(seen, fault)
        if isinstance(fault, Hold):
            await fault.until.wait()
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.secs)
        url = URL(self.target + seen.path, encoded=True)
        if isinstance(fault, Ask):
            url = url.extend_query(fault.query)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                seen.method, url, headers=seen.headers, data=seen.body or None, skip_auto_headers={"Content-Type"}
            ) as answer,
        ):
            return await _pass_on(request, answer, fault)


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse, fault: Fault | None) -> web.StreamResponse:
    cut_after = fault.after if isinstance(fault, Cut) else None
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
    passed = web.StreamResponse(status=answer.status, headers=headers)
    body = await answer.read()
    if "Content-Length" in answer.headers:
        passed.content_length = int(answer.headers["Content-Length"])
    await passed.prepare(request)
    if isinstance(fault, Drip):
        await passed.write(body[: len(body) // 2])
        await asyncio.sleep(fault.secs)
        body = body[len(body) // 2 :]
    await passed.write(body if cut_after is None else body[:cut_after])
    if cut_after is not None and request.transport is not None:
        request.transport.close()
        return passed
    await passed.write_eof()
    return passed


def _refusal(seen: Seen, fault: Refuse) -> web.Response:
    if seen.operation.startswith("sqs"):
        error: dict[str, Any] = {"__type": f"com.amazonaws.sqs#{fault.code}", "message": fault.message}
        return web.json_response(error, status=fault.status, content_type="application/x-amz-json-1.0")
    if seen.operation.startswith("sts"):
        error_element = f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>"
        text = f"<ErrorResponse>{error_element}</ErrorResponse>"
        return web.Response(status=fault.status, text=text, content_type="text/xml")
    headers = {"x-ms-error-code": fault.code}  # where Azure says it
    if fault.region:
        headers["x-amz-bucket-region"] = fault.region
    text = S3_ERROR.format(code=fault.code, message=fault.message, region=fault.region)
    return web.Response(status=fault.status, text=text, content_type="application/xml", headers=headers)


@asynccontextmanager
async def in_front_of(target: str) -> AsyncIterator[Proxy]:
    """A proxy before the server at this address."""
    proxy = Proxy(target)
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        proxy.url = f"http://{host}:{port}"
        yield proxy
    finally:
        await runner.cleanup()
