"""A server on loopback that answers with exactly the bytes it is told: what no library for servers would send."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

SILENCE = None
"""No answer at all: the connection stays open until the client closes it."""


class RawServer:
    """Each request takes the next of `answers`, and `default` when there is none. An answer that ends before its
    `Content-Length` keeps the connection open."""

    def __init__(self, scheme: str) -> None:
        self.answers: list[bytes | None] = []
        self.default: bytes | None = b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n"
        self.close_after = False
        """Whether connections are closed after each answer, without a word about it before."""
        self.heads: list[str] = []
        """Request lines and headers, as they came."""
        self.asked = asyncio.Event()
        """Set by the first request."""
        self.all_closed = asyncio.Event()
        """Set while no connection is open."""
        self.url = ""
        self._scheme = scheme
        self._open = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self._open += 1
        self.all_closed.clear()
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer_all(reader, writer)
        finally:
            writer.close()
            self._open -= 1
            if not self._open:
                self.all_closed.set()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.asked.set()
            answer = self.answers.pop(0) if self.answers else self.default
            if answer is SILENCE:
                await reader.read()
                return
            writer.write(answer)
            await writer.drain()
            if self.close_after:
                return

    async def listen(self, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Start; sets the URL."""
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0, ssl=tls)
        self.url = f"{self._scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server


@asynccontextmanager
async def raw_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server for the time of a test."""
    made = RawServer("https" if tls else "http")
    server = await made.listen(tls)
    try:
        yield made
    finally:
        server.close()


def answer(status: str = "200 OK", body: bytes = b"", **headers: str | None) -> bytes:
    """An answer with these headers; its `Content-Length` is that of the body unless another is given, or None."""
    told = {"Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body
