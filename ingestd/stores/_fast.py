"""Reading by obstore, at a sixth of what an SDK costs for a small object, for the stores that have an SDK as well.

Only what goes well is done here. Whatever else happens (a refusal, a redirect, a busy service, a name that two
libraries may write differently) is left to the SDK, which is asked the same question again: its answer says what is
wrong, and which permission is missing. So errors, and what is done about them, are the same with either reader.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ingestd.errors import ConfigError, Problem, Retryable
from ingestd.telemetry import occurrences

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

STALL_SECS = 60.0
"""Longest wait for the answer, and for each piece of the body."""
SMALL_BYTES = 64 * 1024
"""Up to this size the body is taken with the answer, and waits in memory for a worker."""
WHOLE_BYTES = 1024 * 1024
"""Up to this size a body is taken at once; a longer one in pieces."""
PIECE_BYTES = 256 * 1024
BUCKETS = 64
"""Connections are kept to the buckets that were read last."""
_PLAIN_KEY = re.compile(r"(?!\.{1,2}(?:/|$))[\w.=,@:() +-]+(?:/(?!\.{1,2}(?:/|$))[\w.=,@:() +-]+)*", re.ASCII)
"""Keys that every library takes literally: no empty part, none that is a way up, nothing to be encoded twice."""

MakeStore = Callable[[str], Awaitable[Any]]
"""The obstore store of a bucket. Raises `NotForFast` when the SDK is to read this bucket now and later."""


class NotForFast(Exception):
    """Why a bucket is left to the SDK."""


class FastAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An object whose body can be read now."""

    etag: str
    """Without quotes."""
    length: int
    """Bytes of this answer's body."""
    modified: datetime
    body: FastBody
    whole: bytes | None
    """The same body, where it is small enough to have come with the answer."""


class FastBody:
    """The body of an answer, read like that of an SDK."""

    def __init__(self, url: str, length: int, result: Any, data: bytes = b"") -> None:
        """What is left of the body: `data`, then what `result` gives, if it is not None."""
        self._url = url
        self._length = length
        self._result = result
        self._stream: Any = None
        self._left = memoryview(data)

    async def read(self, size: int) -> bytes:
        """The next piece, of `size` bytes at most; empty at the end. Raises `Retryable` when it does not come."""
        if self._left:
            return self._take(size)
        if self._result is None:
            return b""
        try:
            async with asyncio.timeout(STALL_SECS):
                return await self._next(size)
        except TimeoutError:
            raise Retryable(f"{self._url}: nothing came for {STALL_SECS:.0f} s") from None
        except Exception as error:
            raise Retryable(f"{self._url}: the connection broke: {type(error).__name__}") from error

    async def _next(self, size: int) -> bytes:
        if self._length <= WHOLE_BYTES:
            result, self._result = self._result, None
            self._left = memoryview(await result.bytes_async())
        else:
            if self._stream is None:
                self._stream = self._result.stream(min_chunk_size=PIECE_BYTES)
            self._left = memoryview(await anext(self._stream, b""))
        return self._take(size)

    def _take(self, size: int) -> bytes:
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)

    def close(self) -> None:
        """Let go of the connection."""
        self._result = self._stream = None
        self._left = memoryview(b"")


class FastReader:
    """Asks for objects, one obstore store for each bucket."""

    def __init__(self, make: MakeStore) -> None:
        self._make = make
        self._stores: OrderedDict[str, Any] = OrderedDict()

    async def get(
        self, bucket: str, key: str, *, etag: str | None, version: str | None, offset: int
    ) -> FastAnswer | None:
        """The object from `offset` on, pinned to the etag; None when the SDK is to be asked."""
        if not is_plain_key(key):
            return None
        options: dict[str, Any] = {}
        if etag is not None:
            options["if_match"] = f'"{etag}"'
        if version is not None:
            options["version"] = version
        if offset:
            options["range"] = {"offset": offset}
        try:
            async with asyncio.timeout(STALL_SECS):
                store = await self.store_of(bucket)
                if store is None:
                    return None
                result = await self._get(store, key, options)
                length = result.range[1] - result.range[0]
                whole = bytes(await result.bytes_async()) if length <= SMALL_BYTES else None
        except Exception:  # noqa: BLE001 - the SDK finds out what it is, and says it better
            return None
        meta = result.meta
        if meta["path"] != key or result.range[0] != offset or not meta["e_tag"]:
            return None
        body = FastBody(f"{bucket}/{key}", length, result if whole is None else None, whole or b"")
        if whole is not None and len(whole) != length:
            whole = None  # reading the body shows it, and asks for the rest
        etag_found = meta["e_tag"].strip('"')
        return FastAnswer(etag=etag_found, length=length, modified=meta["last_modified"], body=body, whole=whole)

    async def _get(self, store: Any, key: str, options: dict[str, Any]) -> Any:
        return await (store.get_async(key, options=options) if options else store.get_async(key))

    async def store_of(self, bucket: str) -> Any:
        """What reads this bucket; None when it is left to the SDK."""
        if bucket in self._stores:
            self._stores.move_to_end(bucket)
            return self._stores[bucket]
        try:
            store = await self._make(bucket)
        except NotForFast as why:
            store = None
            occurrences.fast_reader_not_used(bucket, str(why))
        self._stores[bucket] = store
        while len(self._stores) > BUCKETS:
            self._stores.popitem(last=False)
        return store

    def close(self) -> None:
        """Let go of all connections. Idempotent."""
        self._stores.clear()


def is_plain_key(key: str) -> bool:
    """Whether every library takes this key literally."""
    return _PLAIN_KEY.fullmatch(key) is not None


def client_options() -> ClientConfig:
    """How obstore is to connect. The timeout is that of a whole body; `STALL_SECS` notices one that stands still."""
    return {"timeout": "12 hours", "connect_timeout": "10 seconds", "user_agent": "ingestd"}


def retry_config() -> RetryConfig:
    """Trying again is ours."""
    return {"max_retries": 0}


def require_obstore() -> None:
    """Raises `ConfigError` when it is not installed."""
    try:
        import obstore  # noqa: F401 - only whether it is there
    except ModuleNotFoundError:
        hint = "pip install obstore, or set `reader: sdk`"
        raise ConfigError([Problem("`reader: fast` needs the package obstore", hint=hint)]) from None
