"""A server that speaks Cloud Storage's JSON API on loopback, and tells a Pub/Sub server what was written.

None that keeps generations, preconditions and transcoding as the service does can be installed from a registry. It is
held to what Google's own client expects by `test_storage_server.py`.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import google_crc32c
from aiohttp import web

Notify = Callable[[str, "Stored"], None]
"""Event type, and the object that it is about."""
_generations = itertools.count(1_700_000_000_000_001)


@dataclass
class Stored:
    """One generation of an object."""

    bucket: str
    name: str
    data: bytes
    encoding: str = ""
    generation: int = field(default_factory=lambda: next(_generations))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    def resource(self) -> dict[str, Any]:
        """What the API says of it."""
        found = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "size": str(len(self.data)),
            "md5Hash": base64.b64encode(hashlib.md5(self.data).digest()).decode(),
            "crc32c": self.crc32c,
            "etag": base64.b64encode(str(self.generation).encode()).decode(),
            "updated": self.updated.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        return found | ({"contentEncoding": self.encoding} if self.encoding else {})

    @property
    def crc32c(self) -> str:
        """Checksum, as the API writes it."""
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass
class Storage:
    """A running server. `versioned` keeps generations that were overwritten."""

    url: str = ""
    versioned: bool = False
    buckets: dict[str, dict[str, list[Stored]]] = field(default_factory=dict)
    """Bucket → name → generations, the live one last; empty when it was deleted."""
    notify: Notify = lambda kind, stored: None
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    readers_pay: set[str] = field(default_factory=set)
    """Buckets of which nobody gets anything who names no project that pays."""
    tokens: list[str] = field(default_factory=list)
    """What requests signed in with."""

    # --- objects ---

    def put(self, bucket: str, name: str, data: bytes, *, encoding: str = "") -> Stored:
        """Write an object."""
        stored = Stored(bucket, name, data, encoding)
        earlier = self._names(bucket).get(name, []) if self.versioned else []
        self._names(bucket)[name] = [*earlier, stored]
        self.notify("OBJECT_FINALIZE", stored)
        return stored

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object."""
        stored = self.live(bucket, name)
        del self.buckets[bucket][name]
        self.notify("OBJECT_DELETE", stored)

    def live(self, bucket: str, name: str, generation: str = "") -> Stored:
        """An object as it is now, or as it was."""
        found = self._names(bucket).get(name, [])
        wanted = found if generation else found[-1:]
        for stored in wanted:
            if generation in {"", str(stored.generation)}:
                return stored
        raise Refused(404, "notFound", f"No such object: {bucket}/{name}")

    def _names(self, bucket: str) -> dict[str, list[Stored]]:
        if bucket not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[bucket]

    # --- requests ---

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request of any kind."""
        self.tokens.append(request.headers.get("Authorization", ""))
        try:
            return await self._route(request)
        except Refused as why:
            error = {"code": why.status, "message": str(why), "errors": [{"reason": why.reason, "message": str(why)}]}
            return web.json_response({"error": error}, status=why.status)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        query = request.rel_url.query
        if path == "/storage/v1/b" and request.method == "POST":
            name = (await request.json())["name"]
            self.buckets.setdefault(name, {})
            return web.json_response({"kind": "storage#bucket", "name": name, "id": name})
        found = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)/o(?:/([^/]+))?", path)
        if found is None:
            raise Refused(404, "notFound", "Not Found")
        kind, bucket, name = found[1], found[2], unquote(found[3] or "")
        if bucket in self.readers_pay and "userProject" not in query:
            raise Refused(400, "required", "Bucket is a requester pays bucket but no user project provided.")
        if kind == "/upload":
            return await self._upload(request, bucket)
        if not name:
            return self._list(bucket, query)
        stored = self.live(bucket, name, query.get("generation", ""))
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and wanted != str(stored.generation):
            raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        if request.method == "DELETE":
            self.delete(bucket, name)
            return web.Response(status=204)
        return _media(request, stored) if query.get("alt") == "media" else web.json_response(stored.resource())

    def _list(self, bucket: str, query: Any) -> web.Response:
        start = query.get("pageToken") or query.get("startOffset", "")
        names = sorted(self._names(bucket), key=str.encode)
        names = [
            name for name in names if name.startswith(query.get("prefix", "")) and name.encode() >= start.encode()
        ]
        most = int(query.get("maxResults", "1000"))
        page = {"kind": "storage#objects", "items": [self.live(bucket, name).resource() for name in names[:most]]}
        if len(names) > most:
            page["nextPageToken"] = names[most]
        return web.json_response(page)

    async def _upload(self, request: web.Request, bucket: str) -> web.Response:
        """In one piece, with its metadata before it, or in pieces under an upload id."""
        query, body = request.rel_url.query, await request.read()
        kind = query.get("uploadType")
        if kind == "multipart":
            boundary = re.search(r"boundary=\"?([^\";]+)", request.headers["Content-Type"])
            assert boundary is not None
            _, first, second, _ = body.split(b"--" + boundary[1].encode())
            told = json.loads(first.partition(b"\r\n\r\n")[2])
            data = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        elif kind == "resumable" and "upload_id" not in query:
            name = f"upload-{len(self.uploads)}"
            self.uploads[name] = {**(json.loads(body) if body else {}), "data": b""}
            self.uploads[name].setdefault("name", query.get("name"))
            return web.json_response({}, headers={"Location": f"{request.url.update_query(upload_id=name)}"})
        elif kind == "resumable":
            told = self.uploads[query["upload_id"]]
            told["data"] += body
            if request.headers.get("Content-Range", "").endswith("/*"):
                return web.Response(status=308, headers={"Range": f"bytes=0-{len(told['data']) - 1}"})
            data = told["data"]
        else:
            told, data = {"name": query["name"], "contentEncoding": query.get("contentEncoding", "")}, body
        self._names(bucket)
        return web.json_response(
            self.put(bucket, told["name"], data, encoding=told.get("contentEncoding") or "").resource()
        )


def _media(request: web.Request, stored: Stored) -> web.Response:
    """The bytes, as they are stored or expanded, all of them or a range."""
    data, status = stored.data, 200
    headers = {
        "x-goog-generation": str(stored.generation),
        "Last-Modified": format_datetime(stored.updated, usegmt=True),
        "x-goog-hash": f"crc32c={stored.crc32c}",
        "x-goog-stored-content-encoding": stored.encoding or "identity",
        "x-goog-stored-content-length": str(len(stored.data)),
        "Content-Type": "application/octet-stream",
    }
    if stored.encoding == "gzip" and "gzip" not in request.headers.get("Accept-Encoding", ""):
        expanded = web.Response(body=gzip.decompress(data), headers=headers)
        expanded.enable_chunked_encoding()
        return expanded
    if stored.encoding:
        headers["Content-Encoding"] = stored.encoding
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if wanted is not None:
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if first >= len(data):
            raise Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        data, status = data[first : last + 1], 206
    return web.Response(status=status, body=data, headers=headers)


@contextmanager
def running() -> Iterator[Storage]:
    """Start a server on a port of its own, in a thread of its own; stop it at the end."""
    storage = Storage()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", storage.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        storage.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield storage
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
