"""A small and fast AWS on loopback, so that a measurement shows the client and not the server.

One queue of notices and one bucket, both made up as they are asked for: any number of messages and objects takes no
memory. It speaks as much of SQS (the JSON protocol) and S3 as a reader needs, checks no signature, and counts what
it is asked for.

    python -m bench.aws_server '{"messages": 1000}'     prints its port, then serves until its input ends
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import uvloop

from bench.generate import events, gzip_object

BUCKET = "bench"
QUEUE_PATH = "/000000000000/bench"
LAST_MODIFIED = "Wed, 01 Jul 2026 00:00:00 GMT"
PIECE_BYTES = 256 * 1024
LISTED_KEYS = 1_000
_BIG_RECORDS = 41_500
"""Events of which gzip makes 10 MB."""
_encode = msgspec.json.encode


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What lies there."""

    messages: int = 0
    """Messages in the queue, each about one object (or events themselves, for the kind `event`)."""
    copies: int = 1
    """How often each object is told of."""
    kind: str = "small"
    """`small` objects of 1 KB, `big` ones of 10 MB gzip, `lines` of `size` bytes; `event`: the message is one."""
    size: int = 0
    listed: int = 0
    """Keys that a listing has."""
    cut_at: int = 0
    """Byte of each object at which the first answer that gets there breaks off."""


class Stats(msgspec.Struct, kw_only=True):
    """What was asked for."""

    requests: dict[str, int]
    bytes_sent: int = 0
    held: int = 0
    """Messages that are invisible now."""
    most_held: int = 0
    left: int = 0
    """Messages not deleted yet."""
    first_receive: float = 0.0
    last_delete: float = 0.0
    """Seconds of the monotonic clock."""


class Queue:
    """Messages by number; the body of each is made when it is received."""

    def __init__(self, settings: Settings, stats: Stats) -> None:
        self._settings = settings
        self._stats = stats
        self._next = 0
        self._again: deque[int] = deque()
        self._held: dict[int, tuple[float, int]] = {}
        """Message → (visible again at, serial of its receipt)."""
        self._due: list[tuple[float, int]] = []
        self._receives: Counter[int] = Counter()
        self._serials = itertools.count(1)
        stats.left = settings.messages * settings.copies

    def receive(self, request: dict[str, int]) -> dict[str, Any]:
        """ReceiveMessage."""
        now = time.monotonic()
        self._stats.first_receive = self._stats.first_receive or now
        self._expire(now)
        messages = []
        for _ in range(request.get("MaxNumberOfMessages", 1)):
            number = self._take()
            if number is None:
                break
            serial = next(self._serials)
            self._hold(number, serial, now + request.get("VisibilityTimeout", 30))
            self._receives[number] += 1
            attributes = {"SentTimestamp": "1782864000000", "ApproximateReceiveCount": str(self._receives[number])}
            body = self._body(number % self._settings.messages)
            receipt = f"{number}:{serial}"
            messages.append(
                {"MessageId": f"m-{number}", "ReceiptHandle": receipt, "Body": body, "Attributes": attributes}
            )
        self._note_held()
        return {"Messages": messages} if messages else {}

    def delete(self, request: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
        """DeleteMessageBatch."""

        def gone(number: int, entry: dict[str, str]) -> None:
            del self._held[number]
            self._receives.pop(number, None)
            self._stats.left -= 1
            self._stats.last_delete = time.monotonic()

        return self._each(request["Entries"], gone)

    def extend(self, request: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
        """ChangeMessageVisibilityBatch."""
        now = time.monotonic()
        return self._each(
            request["Entries"],
            lambda number, entry: self._hold(number, self._held[number][1], now + int(entry["VisibilityTimeout"])),
        )

    def attributes(self) -> dict[str, Any]:
        """GetQueueAttributes."""
        waiting = self._stats.left - self._stats.held
        return {"Attributes": {"ApproximateNumberOfMessages": str(waiting)}}

    def _each(self, entries: list[dict[str, str]], work: Callable[[int, dict[str, str]], None]) -> dict[str, Any]:
        self._expire(time.monotonic())
        done, failed = [], []
        for entry in entries:
            number, serial = map(int, entry["ReceiptHandle"].split(":"))
            if self._held.get(number, (0.0, 0))[1] == serial:
                work(number, entry)
                done.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": True})
        self._note_held()
        return {"Successful": done, "Failed": failed}

    def _take(self) -> int | None:
        if self._again:
            return self._again.popleft()
        if self._next == self._settings.messages * self._settings.copies:
            return None
        self._next += 1
        return self._next - 1

    def _hold(self, number: int, serial: int, until: float) -> None:
        self._held[number] = (until, serial)
        heapq.heappush(self._due, (until, number))

    def _expire(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            until, number = heapq.heappop(self._due)
            if self._held.get(number, (0.0, 0))[0] == until:
                del self._held[number]
                self._again.append(number)

    def _note_held(self) -> None:
        self._stats.held = len(self._held)
        self._stats.most_held = max(self._stats.most_held, len(self._held))

    def _body(self, number: int) -> str:
        if self._settings.kind == "event":
            return small_object(number).decode()
        key = key_of(self._settings.kind, number)
        return _notice(key, size_of(key, self._settings) or 0)


def _notice(key: str, size: int) -> str:
    """What S3 says of a new object."""
    described = {"key": key, "size": size, "eTag": etag_of(key), "sequencer": "0055AED6DCD90281E5"}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-07-01T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"}, "object": described},
    }
    return _encode({"Records": [record]}).decode()


def etag_of(key: str) -> str:
    """The etag of an object, without quotes."""
    return f"{sum(key.encode()):032x}"


def size_of(key: str, settings: Settings) -> int | None:
    """Bytes of an object; None when there is no such."""
    if "/small/" in key:
        return len(small_object(int(key[-14:-5])))
    if "/big/" in key:
        return len(big_object())
    return settings.size or None


def key_of(kind: str, number: int) -> str:
    """The key of an object."""
    return f"AWSLogs/{kind}/{number:09d}.json"


@lru_cache(maxsize=1)
def _small_template() -> tuple[str, str]:
    event = min(events(1, 200), key=lambda event: abs(len(json.dumps(event)) - 980)) | {"eventID": "@ID@"}
    before, after = json.dumps({"Records": [event]}).split("@ID@")
    return before, after


def small_object(number: int) -> bytes:
    """A CloudTrail file of one event, about 1 KB, plain."""
    before, after = _small_template()
    return f"{before}small-{number}{after}".encode()


@lru_cache(maxsize=1)
def big_object() -> bytes:
    """A CloudTrail file of 10 MB gzip."""
    return gzip_object(1, _BIG_RECORDS)


@lru_cache(maxsize=1)
def _pattern() -> bytes:
    """Numbered lines; of a length that no piece is a multiple of, so that a wrong offset shows."""
    return "".join(f'{{"n": "{n:020d}", "text": "{"x" * 22}"}}\n' for n in range(4_093)).encode()


def lines(first: int, end: int) -> bytes:
    """Bytes `[first, end)` of an endless file of JSON lines."""
    pattern = _pattern()
    at = first % len(pattern)
    return (pattern * (1 + (at + end - first) // len(pattern)))[at : at + end - first]


class Bucket:
    """Objects by key, made up when they are read."""

    def __init__(self, settings: Settings, stats: Stats) -> None:
        self._settings = settings
        self._stats = stats
        self._cut: set[str] = set()

    def get(self, key: str, headers: dict[bytes, bytes]) -> tuple[int, list[str], int, int, str]:
        """Status, headers, first byte, end, and the key to send of."""
        size = size_of(key, self._settings)
        if size is None:
            return 404, [], 0, 0, key
        etag = f'"{etag_of(key)}"'
        if headers.get(b"if-match", etag.encode()) != etag.encode():
            return 412, [], 0, 0, key
        first, status, extra = 0, 200, []
        if wanted := headers.get(b"range"):
            first = int(wanted.decode().removeprefix("bytes=").split("-")[0])
            if first >= size:
                return 416, [], 0, 0, key
            status, extra = 206, [f"Content-Range: bytes {first}-{size - 1}/{size}"]
        return status, [f"ETag: {etag}", f"Last-Modified: {LAST_MODIFIED}", *extra], first, size, key

    def piece(self, key: str, first: int, end: int) -> bytes:
        """Some bytes of an object."""
        if "/small/" in key:
            return small_object(int(key[-14:-5]))[first:end]
        if "/big/" in key:
            return big_object()[first:end]
        return lines(first, end)

    def cuts(self, key: str, first: int, end: int) -> bool:
        """Whether the answer breaks off before these bytes: once for each object."""
        cut_at = self._settings.cut_at
        if not cut_at or key in self._cut or not first <= cut_at < end:
            return False
        self._cut.add(key)
        return True

    def list_page(self, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2."""
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        first = int(after[-14:-5]) + 1 if after else 0
        end = min(first + LISTED_KEYS, self._settings.listed)
        keys = [key_of("small", number) for number in range(first, end)]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>1000</Size><LastModified>2026-07-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{etag_of(key)}&quot;</ETag></Contents>"
            for key in keys
        )
        more = end < self._settings.listed
        token = f"<NextContinuationToken>{keys[-1]}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(keys)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request after the other."""

    def __init__(self, queue: Queue, bucket: Bucket, stats: Stats) -> None:
        self._queue, self._bucket, self._stats = queue, bucket, stats
        self._input = bytearray()
        self._transport: asyncio.Transport
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # those of uvloop are none by class

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()
        if self._sending:
            self._sending.cancel()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._input += data
        while (end := self._input.find(b"\r\n\r\n")) >= 0:
            first, *rest = bytes(self._input[:end]).split(b"\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in rest)}
            length = int(headers.get(b"content-length", b"0"))
            if len(self._input) < end + 4 + length:
                return
            body = bytes(self._input[end + 4 : end + 4 + length])
            del self._input[: end + 4 + length]
            method, target, _ = first.decode().split(" ")
            self._handle(method, target, headers, body)

    def _handle(self, method: str, target: str, headers: dict[bytes, bytes], body: bytes) -> None:
        operation = headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if path != "/_stats":
            self._stats.requests[operation or ("List" if "list-type" in query else method)] += 1
        if operation:
            self._answer(200, _encode(self._ask_queue(operation, msgspec.json.decode(body))))
        elif path == "/_stats":
            self._answer(200, _encode(self._stats))
        elif "list-type" in query:
            self._answer(200, self._bucket.list_page(query), "application/xml")
        else:
            self._send_object(method, unquote(path).removeprefix(f"/{BUCKET}/"), headers)

    def _ask_queue(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        work: dict[str, Callable[..., dict[str, Any]]] = {
            "ReceiveMessage": self._queue.receive,
            "DeleteMessageBatch": self._queue.delete,
            "ChangeMessageVisibilityBatch": self._queue.extend,
            "GetQueueAttributes": lambda _: self._queue.attributes(),
        }
        return work[operation](request)

    def _send_object(self, method: str, key: str, headers: dict[bytes, bytes]) -> None:
        status, extra, first, end, key = self._bucket.get(key, headers)
        if status >= 400:
            code = {404: "NoSuchKey", 412: "PreconditionFailed", 416: "InvalidRange"}[status]
            self._answer(
                status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), "application/xml"
            )
            return
        head = "\r\n".join([f"HTTP/1.1 {status} OK", *extra, f"Content-Length: {end - first}", "", ""]).encode()
        if method == "HEAD":
            self._transport.write(head)
        elif end - first <= PIECE_BYTES:
            self._transport.write(head + self._bucket.piece(key, first, end))
            self._stats.bytes_sent += end - first
        else:
            self._transport.write(head)
            self._sending = asyncio.get_running_loop().create_task(self._send(key, first, end))

    async def _send(self, key: str, first: int, end: int) -> None:
        for at in range(first, end, PIECE_BYTES):
            until = min(at + PIECE_BYTES, end)
            if self._bucket.cuts(key, at, until):
                self._transport.close()
                return
            self._transport.write(self._bucket.piece(key, at, until))
            self._stats.bytes_sent += until - at
            await self._writable.wait()

    def _answer(self, status: int, body: bytes, kind: str = "application/x-amz-json-1.0") -> None:
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(settings: Settings) -> None:
    """Serve until standard input ends."""
    if settings.kind == "big":
        big_object()
    stats = Stats(requests=defaultdict(int))
    queue, bucket = Queue(settings, stats), Bucket(settings, stats)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(queue, bucket, stats), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.argv[1], type=Settings)))
