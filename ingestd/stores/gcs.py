"""Objects in Cloud Storage, by its JSON API: `gs://<bucket>/<name>`.

An object is its name and its generation: reads are pinned to that of the notice, or of the first answer, and go on by
range when the connection breaks. The SDK has no client for an event loop, so its credentials are used and nothing
else of it.

What is stored with `Content-Encoding: gzip` is asked for as it is stored. The service would expand it for whoever
does not say that it takes gzip, and then knows neither its length nor a range of it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ingestd.cloud import gcp
from ingestd.cloud.proxies import proxy_for
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Retryable, Superseded
from ingestd.model import Check, Identity, ObjectRef
from ingestd.stores._gcs_errors import BILL, LIST, READ, NothingThere, gcs_failure
from ingestd.stores.base import ListedObject, OpenObject, Store

PIECE_BYTES = 256 * 1024
SMALL_BYTES = 64 * 1024
"""Up to this size the body is taken with the answer, and waits in memory without a connection."""
BREAKS = 4
"""Connections that may break one after the other without a byte between them."""
ATTEMPTS = 3
"""Calls per request; then the message goes back to the queue and is tried again later."""
PAUSE_SECS = 0.1
"""Doubled before each call after the first."""
PAGE = 1_000
ERROR_BYTES = 65_536


class Answer(msgspec.Struct, kw_only=True):
    """A body that can be read now."""

    generation: str
    length: int
    """Bytes of this answer's body."""
    response: Any
    """None when all of it is in `data`."""
    data: bytes = b""
    modified: float | None = None


class GcsObject(OpenObject):
    """An object under reading: the answer's body, and how far it was read."""

    def __init__(self, store: GcsStore, ref: ObjectRef, answer: Answer, offset: int) -> None:
        self.ref = ref
        self.generation = answer.generation
        self.identity = _identity(ref, answer.generation)
        self.origin = {"gcs_bucket": ref.bucket, "gcs_object": ref.key}
        self.size: int = offset + answer.length
        self.modified = answer.modified
        if answer.response is None and len(answer.data) == answer.length:
            self.whole = answer.data
        self._store = store
        self._answer: Answer | None = answer
        self._position = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        breaks = 0
        while self._position < self.size:
            try:
                piece = await self._piece()
                why = "the body ended early"
            except Exception as error:  # noqa: BLE001 - whatever a connection dies of
                piece, why = b"", type(error).__name__
            if piece:
                breaks = 0
                self._position += len(piece)
                yield piece
                continue
            breaks += 1
            if breaks > BREAKS:
                raise Retryable(f"{self.ref.url}: {breaks} connections broke at byte {self._position}: {why}")
            await asyncio.sleep(0.05 * 2**breaks)
            await self._go_on()

    async def _piece(self) -> bytes:
        answer = self._answer
        if answer is None:
            return b""
        if answer.data:
            data, answer.data = answer.data, b""
            return data
        if answer.response is None:
            return b""
        piece: bytes = await answer.response.content.read(PIECE_BYTES)
        return piece

    async def _go_on(self) -> None:
        """Ask for the rest, of exactly this content."""
        await self.close()
        pinned = msgspec.structs.replace(self.ref, etag=self.generation)
        self._answer = await self._store.get(pinned, self._position)

    async def close(self) -> None:
        """See `OpenObject`."""
        if self._answer is not None and self._answer.response is not None:
            self._answer.response.close()
        self._answer = None


class GcsStore(Store):
    """See the module."""

    name = "gs"

    def __init__(self, account: gcp.Account, *, billing_project: str | None = None) -> None:
        self._clients = gcp.Clients(account)
        self._endpoint = account.storage_endpoint
        self._proxy = proxy_for(account.storage_endpoint)
        self._payer = f"&{urlencode({'userProject': billing_project})}" if billing_project else ""

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """See `Store`. Reasons: `not_found`, `no_bucket`, `forbidden`, `key_unusable`, `customer_key`,
        `requester_pays`, `billing_forbidden`, `transcoded`, `bad_reference`, `gcs_error`."""
        if not ref.key or not ref.bucket or not (ref.etag or "0").isdigit():
            raise Permanent(f"{ref.url}: names no bucket, object and generation", reason="bad_reference")
        try:
            return GcsObject(self, ref, await self.get(ref, offset), offset)
        except NothingThere:
            # nothing lies behind `offset`: what the object is has to be asked for without a range
            found = await self._json(_object_path(ref), f"alt=json{_pin(ref)}", ref.url, READ)
            answer = Answer(generation=str(found["generation"]), length=0, response=None)
            opened = GcsObject(self, ref, answer, offset)
            opened.size = int(found["size"])
            opened.modified = datetime.fromisoformat(found["updated"]).timestamp() if "updated" in found else None
            return opened

    async def get(self, ref: ObjectRef, offset: int) -> Answer:
        """The object's bytes from `offset` on, of the generation that the reference's etag names. Raises
        `NothingThere` behind the end."""
        path = f"/download{_object_path(ref)}"
        try:
            response = await self._request(path, f"alt=media{_pin(ref)}", ref.url, READ, offset)
        except Permanent as error:
            if error.reason != "not_found" or ref.etag is None:
                raise
            raise await self._gone(ref, error) from error
        try:
            return await _answer(ref, response, offset)
        except BaseException:
            response.close()
            raise

    async def _gone(self, ref: ObjectRef, error: Permanent) -> Permanent:
        """Why a generation is not there: another has taken its place, or none has."""
        try:
            found = await self._json(_object_path(ref), "fields=generation", ref.url, READ)
        except Permanent:
            return error
        return Superseded(
            f"{ref.url}: overwritten since it was announced (generation {found['generation']} is there)"
        )

    async def _json(self, path: str, query: str, url: str, permission: str) -> dict[str, Any]:
        response = await self._request(path, query, url, permission)
        try:
            found = msgspec.json.decode(await response.read())
        except Exception as error:
            raise Retryable(f"{url}: the answer cannot be read: {type(error).__name__}") from error
        finally:
            response.release()
        if not isinstance(found, dict):
            raise Retryable(f"{url}: the answer is no JSON object")
        return found

    async def _request(self, path: str, query: str, url: str, permission: str, offset: int = 0) -> Any:
        """A good answer, tried again a few times when it fails in passing."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(path, query, url, permission, offset)
            except Retryable as error:
                if attempt == ATTEMPTS or not _in_passing(error):
                    raise
            await asyncio.sleep(PAUSE_SECS * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    async def _once(self, path: str, query: str, url: str, permission: str, offset: int) -> Any:
        from yarl import URL

        headers = {"Accept-Encoding": "gzip", **await self._clients.headers()}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        address = URL(f"{self._endpoint}{path}?{query}{self._payer}", encoded=True)
        session = await self._clients.session()
        try:
            response = await session.get(address, headers=headers, allow_redirects=False, proxy=self._proxy)
        except Exception as error:
            raise Retryable(f"{url}: {type(error).__name__}: {gcp.told(error)}") from error
        if response.status in {200, 206}:
            return response
        try:
            body = await response.content.read(ERROR_BYTES)
        except Exception:  # noqa: BLE001 - the status says enough
            body = b""
        response.close()
        why = gcs_failure(response.status, body, url, permission)
        if isinstance(why, Retryable) and why.retry_after is not None:
            await self._clients.refused()
        raise why

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`."""
        url = f"gs://{bucket}/{prefix}"
        fields = "nextPageToken,items(name,generation,size,updated)"
        query = {"prefix": prefix, "maxResults": str(PAGE), "fields": fields}
        if start_after:
            query["startOffset"] = start_after
        while True:
            page = await self._json(f"/storage/v1/b/{quote(bucket, safe='')}/o", urlencode(query), url, LIST)
            for entry in page.get("items", ()):
                if entry["name"] != start_after:
                    yield _listed(bucket, entry)
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def listed_identity(self, ref: ObjectRef) -> Identity | None:
        """See `Store`."""
        return _identity(ref, ref.etag) if ref.etag is not None else None

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`: lists one object, and reads its first bytes."""
        url = f"gs://{bucket}/{prefix}"
        what = f"list objects under {url}"
        try:
            found = await anext(self.list_objects(bucket, prefix), None)
        except IngestdError as error:
            return [_failed(what, error, LIST), Check(what=f"read objects under {url}", ok=False, detail="not tried")]
        checks = [Check(what=what, ok=True)]
        if found is None:
            return [*checks, Check(what=f"read objects under {url}", ok=True, detail="there is none to try it on")]
        try:
            async with await self.open(found.ref):
                return [*checks, Check(what=f"read {found.ref.url}", ok=True)]
        except IngestdError as error:
            return [*checks, _failed(f"read {found.ref.url}", error, READ)]

    async def close(self) -> None:
        """See `Store`."""
        await self._clients.close()


async def _answer(ref: ObjectRef, response: Any, offset: int) -> Answer:
    headers = response.headers
    generation = headers.get("x-goog-generation", "")
    if not generation.isdigit() or response.content_length is None or (offset and response.status != 206):
        stored = headers.get("x-goog-stored-content-encoding", "identity")
        text = (
            f"{ref.url}: the answer is not what is stored ({stored}): a proxy on the way has expanded or changed it"
        )
        raise AttemptFailed(text, reason="transcoded")
    length = int(response.content_length)
    modified = _seconds(headers.get("Last-Modified", ""))
    if length > SMALL_BYTES:
        return Answer(generation=generation, length=length, response=response, modified=modified)
    try:
        data = await response.read()
    except Exception:  # noqa: BLE001 - the rest is asked for by whoever reads
        data = b""
    response.release()
    return Answer(generation=generation, length=length, response=None, data=data, modified=modified)


@lru_cache(maxsize=1_024)
def _seconds(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except ValueError:
        return None


def _object_path(ref: ObjectRef) -> str:
    return f"/storage/v1/b/{quote(ref.bucket, safe='')}/o/{quote(ref.key, safe='')}"


def _pin(ref: ObjectRef) -> str:
    generation = ref.etag or ref.version
    return f"&generation={quote(generation, safe='')}" if generation else ""


def _identity(ref: ObjectRef, generation: str) -> Identity:
    return Identity(f"{ref.url}#{generation}")


def _listed(bucket: str, entry: dict[str, Any]) -> ListedObject:
    ref = ObjectRef(
        store="gs", bucket=bucket, key=entry["name"], size=int(entry["size"]), etag=str(entry["generation"])
    )
    return ListedObject(ref=ref, last_modified=datetime.fromisoformat(entry["updated"]))


def _in_passing(error: Exception) -> bool:
    return isinstance(error, Retryable) and not isinstance(error, AttemptFailed) and error.retry_after is None


def _failed(what: str, error: IngestdError, permission: str) -> Check:
    missing = {"forbidden": permission, "billing_forbidden": BILL}
    reason = error.reason if isinstance(error, AttemptFailed) else ""
    return Check(what=what, ok=False, detail=str(error), missing_permission=missing.get(reason, ""))


def build(account: gcp.Account, *, billing_project: str | None = None) -> GcsStore:
    """The store of Cloud Storage's objects, as seen by this account. Raises `ConfigError` without the SDK."""
    gcp.require_sdk()
    return GcsStore(account, billing_project=billing_project)


def from_environment() -> GcsStore:
    """The store as every Google tool sees it: by Application Default Credentials, `STORAGE_EMULATOR_HOST`, and
    `GOOGLE_CLOUD_QUOTA_PROJECT` for who pays."""
    account = gcp.Account(storage_endpoint=os.environ.get("STORAGE_EMULATOR_HOST", gcp.STORAGE).rstrip("/"))
    return build(account, billing_project=os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT"))
