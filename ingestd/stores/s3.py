"""Objects in S3 and in servers with its API.

A read is pinned to the etag of its notice, and goes on by range against the same etag when the connection breaks.
A version id is only used when the etag is no longer the current one, or not known: reading by version needs
`s3:GetObjectVersion`, which is then needed only where an object was overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import stamina

from ingestd.cloud import aws
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Retryable, Superseded
from ingestd.model import Check, Identity, ObjectRef
from ingestd.stores._fast import SMALL_BYTES, FastAnswer, FastReader, require_obstore
from ingestd.stores._s3_errors import s3_failure
from ingestd.stores._s3_fast import fast_reader
from ingestd.stores._s3_small import SmallObjects
from ingestd.stores.base import ListedObject, OpenObject, Store

PIECE_BYTES = 1024 * 1024
BREAKS = 4
"""Connections that may break one after the other without a byte between them."""
ATTEMPTS = 3
"""Calls per request; then the message goes back to the queue and is tried again later."""
READ = "s3:GetObject"
READ_VERSION = "s3:GetObjectVersion"
LIST = "s3:ListBucket"
Reader = Literal["sdk", "fast"]


class S3Object(OpenObject):
    """An object under reading: the answer's body, and how far it was read."""

    def __init__(
        self, store: S3Store, ref: ObjectRef, answer: dict[str, Any], offset: int, version: str | None
    ) -> None:
        self.ref = ref
        self.etag = _etag_of(answer, ref.url)
        self.identity = _identity(ref, self.etag)
        self.origin = {"aws_s3_bucket": ref.bucket, "aws_s3_key": ref.key}
        self.size: int = offset + int(answer["ContentLength"])
        self.modified = answer["LastModified"].timestamp() if "LastModified" in answer else None
        self.whole = answer.get("Whole")
        self._store = store
        self._version = version
        self._body = answer["Body"]
        self._position = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        breaks = 0
        while self._position < self.size:
            try:
                piece = await self._body.read(PIECE_BYTES)
            except Exception as error:
                piece, why = b"", s3_failure(error, self.ref.url, READ)
                if not isinstance(why, Retryable) or isinstance(why, AttemptFailed):
                    raise why from error
            else:
                why = Retryable(f"{self.ref.url}: the body ended early")
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

    async def _go_on(self) -> None:
        """Ask for the rest, of exactly these bytes."""
        await self.close()
        pinned = ObjectRef(store=self.ref.store, bucket=self.ref.bucket, key=self.ref.key, etag=self.etag)
        answer = await self._store.get_by_sdk(pinned, self._position, self._version)
        self._body = answer["Body"]

    async def close(self) -> None:
        """See `OpenObject`."""
        if self._body is not None:
            self._body.close()
            self._body = None


class S3Store(Store):
    """See the module."""

    name = "s3"

    def __init__(self, account: aws.Account, *, requester_pays: bool = False, reader: Reader = "sdk") -> None:
        self._clients = aws.Clients(account)
        self._payer = {"RequestPayer": "requester"} if requester_pays else {}
        self._fast: FastReader | None = None
        self._small: SmallObjects | None = None
        if reader == "fast":
            self._fast = fast_reader(self._clients, requester_pays=requester_pays)
            self._small = SmallObjects(self._clients, requester_pays=requester_pays)

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """See `Store`. Reasons: `not_found`, `no_bucket`, `forbidden`, `kms_forbidden`, `kms_key_unusable`,
        `archived`, `wrong_region`, `customer_key`, `bad_reference`, `s3_error`."""
        try:
            return await self._open(ref, offset, ref.version if ref.etag is None else None)
        except Permanent as error:
            if ref.version is None or ref.etag is None or not _replaced(error):
                raise
            return await self._open(ref, offset, ref.version)

    async def _open(self, ref: ObjectRef, offset: int, version: str | None) -> OpenObject:
        try:
            return S3Object(self, ref, await self._get(ref, offset, version), offset, version)
        except _NothingThere:
            # nothing lies behind `offset`: what the object is has to be asked for without a range
            answer = await self._call("head_object", ref.url, READ, **self._request(ref, 0, version))
            opened = S3Object(self, ref, answer | {"Body": None, "ContentLength": 0}, offset, version)
            opened.size = int(answer["ContentLength"])
            return opened

    async def _get(self, ref: ObjectRef, offset: int, version: str | None) -> dict[str, Any]:
        """The answer to a GET from `offset` on, pinned to the reference's etag."""
        found = await self._get_fast(ref, offset, version)
        if found is None:
            return await self.get_by_sdk(ref, offset, version)
        return {
            "ETag": found.etag,
            "ContentLength": found.length,
            "LastModified": found.modified,
            "Body": found.body,
            "Whole": found.whole,
        }

    async def _get_fast(self, ref: ObjectRef, offset: int, version: str | None) -> FastAnswer | None:
        """None when the SDK is to be asked. The notice says which way is the shorter one; it need not be right."""
        if self._small is not None and _should_be_small(ref) and not offset and version is None:
            return await self._small.read(ref.bucket, ref.key, ref.etag)
        if self._fast is not None:
            return await self._fast.get(ref.bucket, ref.key, etag=ref.etag, version=version, offset=offset)
        return None

    async def get_by_sdk(self, ref: ObjectRef, offset: int, version: str | None) -> dict[str, Any]:
        """The same, without the fast reader."""
        action = READ if version is None else READ_VERSION
        return await self._call("get_object", ref.url, action, **self._request(ref, offset, version))

    def _request(self, ref: ObjectRef, offset: int, version: str | None) -> dict[str, Any]:
        request: dict[str, Any] = {"Bucket": ref.bucket, "Key": ref.key, **self._payer}
        if ref.etag is not None:
            request["IfMatch"] = f'"{ref.etag}"'
        if offset:
            request["Range"] = f"bytes={offset}-"
        if version is not None:
            request["VersionId"] = version
        return request

    async def _call(self, operation: str, url: str, action: str, **request: Any) -> dict[str, Any]:
        """One request, tried again a few times when it fails in passing."""
        async for attempt in stamina.retry_context(
            on=_in_passing, attempts=ATTEMPTS, timeout=None, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
        ):
            with attempt:
                client = await self._clients.get("s3")
                try:
                    answer: dict[str, Any] = await getattr(client, operation)(**request)
                except Exception as error:
                    if aws.code_of(error) == "InvalidRange" or aws.status_of(error) == 416:
                        raise _NothingThere(url) from None
                    raise s3_failure(error, url, action) from error
                return answer
        raise AssertionError("unreachable")

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`."""
        url = f"s3://{bucket}/{prefix}"
        more: dict[str, Any] = {"StartAfter": start_after} if start_after else {}
        while True:
            page = await self._call("list_objects_v2", url, LIST, Bucket=bucket, Prefix=prefix, **self._payer, **more)
            for entry in page.get("Contents", ()):
                ref = ObjectRef(
                    store=self.name,
                    bucket=bucket,
                    key=entry["Key"],
                    size=entry["Size"],
                    etag=entry["ETag"].strip('"'),
                )
                yield ListedObject(ref=ref, last_modified=entry["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def listed_identity(self, ref: ObjectRef) -> Identity | None:
        """See `Store`."""
        return _identity(ref, ref.etag) if ref.etag is not None else None

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`: lists one object, and reads its first byte."""
        url = f"s3://{bucket}/{prefix}"
        what = f"list objects under {url}"
        try:
            page = await self._call(
                "list_objects_v2", url, LIST, Bucket=bucket, Prefix=prefix, MaxKeys=1, **self._payer
            )
        except IngestdError as error:
            return [_failed(what, error, LIST), Check(what=f"read objects under {url}", ok=False, detail="not tried")]
        checks = [Check(what=what, ok=True)]
        for entry in page.get("Contents", ()):
            checks.append(await self._check_read(ObjectRef(store=self.name, bucket=bucket, key=entry["Key"])))
        if len(checks) == 1:
            checks.append(Check(what=f"read objects under {url}", ok=True, detail="there is none to try it on"))
        return checks

    async def _check_read(self, ref: ObjectRef) -> Check:
        try:
            async with await self.open(ref):
                return Check(what=f"read {ref.url}", ok=True)
        except IngestdError as error:
            return _failed(f"read {ref.url}", error, READ)

    async def close(self) -> None:
        """See `Store`."""
        if self._fast is not None:
            self._fast.close()
        if self._small is not None:
            await self._small.close()
        await self._clients.close()


class _NothingThere(IngestdError):
    """The object ends before the range that was asked for."""


def _identity(ref: ObjectRef, etag: str) -> Identity:
    return Identity(f"{ref.url}#{etag}")


def _etag_of(answer: dict[str, Any], url: str) -> str:
    etag: str = answer.get("ETag", "").strip('"')
    if not etag:
        if answer["Body"] is not None:
            answer["Body"].close()
        raise AttemptFailed(f"{url}: the server names no ETag, by which an object is known", reason="s3_error")
    return etag


def _should_be_small(ref: ObjectRef) -> bool:
    return ref.size is not None and ref.size <= SMALL_BYTES


def _replaced(error: Permanent) -> bool:
    return isinstance(error, Superseded) or error.reason == "not_found"


def _in_passing(error: Exception) -> bool:
    return isinstance(error, Retryable) and not isinstance(error, AttemptFailed) and error.retry_after is None


def _failed(what: str, error: IngestdError, action: str) -> Check:
    return Check(what=what, ok=False, detail=str(error), missing_permission=aws.missing_action(error, action) or "")


def build(account: aws.Account, *, requester_pays: bool = False, reader: Reader = "sdk") -> S3Store:
    """The store of S3's objects, as seen by this account. `fast` reads by obstore what it can, and asks the SDK about
    the rest. Raises `ConfigError` without the SDK, or without the reader asked for."""
    aws.require_sdk()
    if reader == "fast":
        require_obstore()
    return S3Store(account, requester_pays=requester_pays, reader=reader)


def from_environment() -> S3Store:
    """The store as the SDK's own settings say: for commands that run without a configuration."""
    return build(aws.Account())
