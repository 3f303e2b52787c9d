"""Blobs in Azure: `az://<account>/<container>/<blob>`; block blobs, append blobs that grow, snapshots and versions.

The bucket of a reference is the account, its key is container and blob: diagnostic settings write each category into
a container of its own, so that routes tell them apart by prefix.

A read is a series of ranges, each pinned to the etag of the first answer. An append blob has another etag after each
append: its identity is when it was made, and a read is pinned to where it ended when it was opened.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
import stamina

from ingestd.cloud import azure
from ingestd.cloud.azure import RANGE_BYTES
from ingestd.errors import AttemptFailed, IngestdError, Permanent, Retryable, Superseded
from ingestd.model import Check, Growth, Identity, ObjectRef
from ingestd.stores._append_blob import Following, closes_at, goes_on_with_a_record, is_made_of_lines
from ingestd.stores._azure_errors import READER, NothingThere, blob_failure
from ingestd.stores._azure_fast import FastBlob, fast_reader
from ingestd.stores._fast import require_obstore
from ingestd.stores.base import ListedObject, OpenObject, Store

Reader = Literal["sdk", "fast"]
PIECE_BYTES = 1024 * 1024
FIRST_BYTES = 1024 * 1024
"""Asked for when a blob is opened: the whole of most, and little enough to hold for every blob that waits."""
BREAKS = 4
"""Requests for one range that may fail one after the other."""
ATTEMPTS = 3
"""Calls per request when a blob is opened; then the message goes back to the queue and is tried again later."""
LOOK_BACK = 16
"""Ranges looked through for the last end of a line: a line of a growing blob that is longer waits for its close."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z", re.ASCII)
_APPENDED = "appended-"
"""What the etag of a reference to an append blob begins with: the rest is when the blob was made."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the service said about a blob, and a range of its bytes."""

    data: bytes
    size: int
    """Of the whole blob."""
    etag: str
    is_appended: bool
    created: str
    modified: float

    @property
    def made(self) -> str:
        """The etag that stands for an append blob as long as it lives."""
        return _APPENDED + self.created


class BlobObject(OpenObject):
    """A blob under reading: the bytes at hand, and how far it was read."""

    def __init__(self, store: AzureBlobStore, ref: ObjectRef, answer: Answer, offset: int, end: int) -> None:
        container, _, name = ref.key.partition("/")
        self.etag = answer.made if answer.is_appended else answer.etag
        self.ref = ref
        self.identity = Identity(f"{ref.url}#{self.etag}")
        self.origin = {"azure_account": ref.bucket, "azure_container": container, "azure_blob": name}
        self.size: int = end
        self.modified = answer.modified or None
        self.may_grow = answer.is_appended
        self._store = store
        self._data = answer.data[: end - offset]
        self._position = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        while self._position < self.size:
            data, self._data = self._data or await self._next_range(), b""
            self._position += len(data)
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]

    async def _next_range(self) -> bytes:
        """Ask for the next bytes, of exactly this content."""
        pinned = msgspec.structs.replace(self.ref, etag=self.etag)
        for breaks in range(1, BREAKS + 1):
            try:
                answer = await self._store.get(pinned, self._position, min(RANGE_BYTES, self.size - self._position))
            except NothingThere:
                raise Superseded(f"{self.ref.url}: became shorter while it was read") from None
            except AttemptFailed:
                raise
            except Retryable as error:
                if breaks == BREAKS:
                    raise Retryable(
                        f"{self.ref.url}: {breaks} requests failed at byte {self._position}: {error}"
                    ) from error
                await asyncio.sleep(0.05 * 2**breaks)
            else:
                return answer.data
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """See `OpenObject`."""
        self._data = b""


class AzureBlobStore(Store):
    """See the module."""

    name = "az"
    objects_grow = True
    follows = True

    def __init__(
        self,
        account: azure.Account,
        following: Following | None = None,
        *,
        reader: Reader = "sdk",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = azure.Clients(account)
        self._fast = fast_reader(self._clients) if reader == "fast" else None
        self._following = following or Following()
        self._clock = clock

    # --- reading --------------------------------------------------------------------------------------------

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """See `Store`. Reasons: `not_found`, `no_container`, `forbidden`, `archived`, `customer_key`, `key_unusable`,
        `page_blob`, `unknown_account`, `rewritten`, `bad_reference`, `azure_error`."""
        if self._fast is not None and _is_pinned(ref) and not offset:
            container, _, name = ref.key.partition("/")
            place = f"{ref.bucket}/{container}"
            found = await self._fast.get(place, name, etag=ref.etag, version=None, offset=0)
            if found is not None:
                return FastBlob(self, ref, found)
        growth = ref.growth if ref.growth is not None and ref.growth.records is not None and not offset else None
        answer = await self._first(ref, growth.size if growth else offset)
        if not answer.is_appended:
            if growth is not None:  # it was appended to when it was read last
                answer = await self._first(ref, 0)
            return BlobObject(self, ref, answer, offset, answer.size)
        if growth is not None and not self._goes_on(ref, growth, answer):
            growth, answer = None, await self._first(ref, 0)
        return await self._open_appended(ref, answer, growth, offset)

    def rest_of(self, ref: ObjectRef, etag: str, position: int, size: int) -> AsyncIterator[bytes]:
        """The bytes from `position` on of a block blob whose etag is known."""
        known = Answer(data=b"", size=size, etag=etag, is_appended=False, created="", modified=0.0)
        return BlobObject(self, ref, known, position, size).chunks()

    async def _first(self, ref: ObjectRef, offset: int) -> Answer:
        """The first range from `offset` on, tried again a few times when it fails in passing."""
        async for attempt in stamina.retry_context(
            on=_in_passing, attempts=ATTEMPTS, timeout=None, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
        ):
            with attempt:
                try:
                    return await self.get(ref, offset, FIRST_BYTES)
                except NothingThere:
                    return await self._properties(ref)
        raise AssertionError("unreachable")

    def _goes_on(self, ref: ObjectRef, growth: Growth, answer: Answer) -> bool:
        """Whether the blob is the one that was read, and can be read on from there."""
        if f"{ref.url}#{answer.made}" != growth.identity:
            return False
        if answer.size < growth.size:
            raise Permanent(
                f"{ref.url}: the append blob became shorter, so it was written anew under an old name; "
                "read it with `ingestd backfill --again`",
                reason="rewritten",
            )
        return not answer.data or goes_on_with_a_record(answer.data)

    async def _open_appended(self, ref: ObjectRef, answer: Answer, growth: Growth | None, offset: int) -> BlobObject:
        start = growth.size if growth is not None else offset
        pinned = ref.etag is not None and ref.etag.startswith(_APPENDED) and ref.size is not None
        is_closed = self._clock() >= closes_at(ref.key, answer.modified, self._following)
        if pinned and ref.size is not None:
            end = ref.size
        else:
            end = answer.size if is_closed or offset else await self._last_line_end(ref, answer, growth)
        opened = BlobObject(self, ref, answer, start, end)
        opened.start = growth.size if growth is not None else 0
        opened.ref = msgspec.structs.replace(ref, etag=answer.made, size=end, growth=growth)
        if not pinned and not offset:
            opened.look_again_secs = 0.0 if is_closed else self._following.poll_secs
        known = ref.growth is not None and ref.growth.identity == opened.identity and end <= ref.growth.size
        opened.grown_from = None if known else opened.identity
        return opened

    async def _last_line_end(self, ref: ObjectRef, answer: Answer, growth: Growth | None) -> int:
        """Where the last whole line of a blob that is not closed ends; where reading begins when there is none."""
        begin = growth.size if growth is not None else 0
        if growth is None and not is_made_of_lines(answer.data):
            return begin
        in_hand = begin + len(answer.data)
        position = answer.size
        for _ in range(LOOK_BACK):
            if position <= in_hand:
                break
            position = max(in_hand, position - RANGE_BYTES)
            pinned = msgspec.structs.replace(ref, etag=answer.made)
            tail = (await self.get(pinned, position, min(RANGE_BYTES, answer.size - position))).data
            if (found := tail.rfind(b"\n")) >= 0:
                return position + found + 1
        if position > in_hand:
            return begin
        return begin + answer.data.rfind(b"\n") + 1

    # --- requests -------------------------------------------------------------------------------------------

    async def get(self, ref: ObjectRef, offset: int, length: int) -> Answer:
        """A range, of the content that the reference's etag names. Raises `NothingThere` behind the end."""
        made = ref.etag if ref.etag is not None and ref.etag.startswith(_APPENDED) else None
        pins: dict[str, Any] = {}
        if ref.etag is not None and made is None:
            pins = _if_match(ref.etag)
        try:
            blob = await self._blob(ref)
            stream = await blob.download_blob(offset, length, decompress=False, max_concurrency=1, **pins)
            data = await stream.readall()
        except Exception as error:
            raise await self._failure(error, ref.url) from error
        size = int(str(stream.properties.content_range).rpartition("/")[2] or stream.size)
        answer = _answer(ref, stream.properties, size, data)
        if made is not None and answer.made != made:
            raise Superseded(f"{ref.url}: the append blob was written anew")
        return answer

    async def _properties(self, ref: ObjectRef) -> Answer:
        """The same without any bytes."""
        pins = {} if ref.etag is None or ref.etag.startswith(_APPENDED) else _if_match(ref.etag)
        try:
            found = await (await self._blob(ref)).get_blob_properties(**pins)
        except Exception as error:
            raise await self._failure(error, ref.url) from error
        return _answer(ref, found, found.size, b"")

    async def _blob(self, ref: ObjectRef) -> Any:
        container, _, name = ref.key.partition("/")
        if not container or not name:
            raise Permanent(f"{ref.url}: names no container and blob", reason="bad_reference")
        kind, _, moment = (ref.version or "").partition("=")
        if ref.version and not _MOMENT.fullmatch(moment):
            raise Permanent(f"{ref.url}: {ref.version!r} is no snapshot or version", reason="bad_reference")
        service = await self._clients.blobs(ref.bucket)
        version = {"snapshot": {"snapshot": moment}, "versionid": {"version_id": moment}}.get(kind, {})
        return service.get_blob_client(container, name, **version)

    async def _failure(self, error: Exception, url: str) -> IngestdError:
        why = blob_failure(error, url)
        if isinstance(why, Retryable) and why.retry_after is not None:
            await self._clients.refused()
        return why

    # --- the rest -------------------------------------------------------------------------------------------

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`. The prefix begins with the container; without one every container is listed. With a
        hierarchical namespace `a/b` comes before `a-b`, and nothing that we may ask tells such an account."""
        container, slash, rest = prefix.partition("/")
        try:
            service = await self._clients.blobs(bucket)
            for name in [container] if slash else await _containers(service, container):
                if f"{name}/" < start_after and not start_after.startswith(f"{name}/"):
                    continue  # containers do come in the order of their keys
                async for entry in service.get_container_client(name).list_blobs(name_starts_with=rest or None):
                    listed = _listed(bucket, name, entry)
                    if listed is not None and _may_come_after(listed.ref.key, start_after):
                        yield listed
        except Exception as error:
            raise await self._failure(error, f"az://{bucket}/{prefix}") from error

    async def list_folders(self, bucket: str, prefix: str) -> AsyncIterator[str]:
        """See `Store`. Asks the service for one level; containers are folders."""
        from azure.storage.blob.aio import BlobPrefix

        container, slash, rest = prefix.partition("/")
        try:
            service = await self._clients.blobs(bucket)
            if slash:
                level = service.get_container_client(container).walk_blobs(
                    name_starts_with=rest or None, delimiter="/"
                )
                found = {f"{container}/{entry.name}" async for entry in level if isinstance(entry, BlobPrefix)}
            else:
                found = {f"{name}/" for name in await _containers(service, container)}
        except Exception as error:
            raise await self._failure(error, f"az://{bucket}/{prefix}") from error
        for folder in sorted(found):
            yield folder

    def listed_identity(self, ref: ObjectRef) -> Identity | None:
        """See `Store`: not told of append blobs, which are never pinned."""
        return Identity(f"{ref.url}#{ref.etag}") if ref.etag is not None else None

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`: lists one blob, and reads its first bytes."""
        url = f"az://{bucket}/{prefix}"
        what = f"list blobs under {url}"
        try:
            found = await anext(self.list_objects(bucket, prefix), None)
        except IngestdError as error:
            return [_failed(what, error), Check(what=f"read blobs under {url}", ok=False, detail="not tried")]
        checks = [Check(what=what, ok=True)]
        if found is None:
            return [*checks, Check(what=f"read blobs under {url}", ok=True, detail="there is none to try it on")]
        return [*checks, await self._check_read(found.ref)]

    async def _check_read(self, ref: ObjectRef) -> Check:
        try:
            async with await self.open(ref):
                return Check(what=f"read {ref.url}", ok=True)
        except IngestdError as error:
            return _failed(f"read {ref.url}", error)

    async def close(self) -> None:
        """See `Store`."""
        if self._fast is not None:
            self._fast.close()
        await self._clients.close()


def _is_pinned(ref: ObjectRef) -> bool:
    """Whether it is a block blob whose content is known."""
    return ref.etag is not None and ref.version is None and not ref.etag.startswith(_APPENDED)


def _if_match(etag: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


def _answer(ref: ObjectRef, found: Any, size: int, data: bytes) -> Answer:
    kind = str(getattr(found.blob_type, "value", found.blob_type))
    if kind == "PageBlob":
        raise Permanent(f"{ref.url}: is a page blob, which is a disk and no log", reason="page_blob")
    return Answer(
        data=data,
        size=size,
        etag=str(found.etag).strip('"'),
        is_appended=kind == "AppendBlob",
        created=found.creation_time.strftime("%Y-%m-%dT%H:%M:%SZ") if found.creation_time else "",
        modified=_seconds(found.last_modified),
    )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


async def _containers(service: Any, beginning: str) -> list[str]:
    """Names of containers in the order of their keys: `a-b/` is before `a/`."""
    names = [found.name async for found in service.list_containers(name_starts_with=beginning or None)]
    return sorted(names, key=lambda name: f"{name}/")


def _may_come_after(key: str, other: str) -> bool:
    """Whether it is listed later by the order of keys, or by that of a hierarchical namespace."""
    return key > other or key.replace("/", "\0") > other.replace("/", "\0")


def _listed(account: str, container: str, entry: Any) -> ListedObject | None:
    """An entry of a listing; None for what is no log: a page blob, or one without bytes, which is what a folder of a
    hierarchical namespace looks like."""
    kind = str(getattr(entry.blob_type, "value", entry.blob_type))
    if kind == "PageBlob" or (kind == "BlockBlob" and not entry.size):
        return None
    ref = ObjectRef(
        store="az",
        bucket=account,
        key=f"{container}/{entry.name}",
        size=None if kind == "AppendBlob" else entry.size,
        etag=None if kind == "AppendBlob" else str(entry.etag).strip('"'),
    )
    return ListedObject(ref=ref, last_modified=entry.last_modified)


def _in_passing(error: Exception) -> bool:
    return isinstance(error, Retryable) and not isinstance(error, AttemptFailed) and error.retry_after is None


def _failed(what: str, error: IngestdError) -> Check:
    refused = isinstance(error, AttemptFailed) and error.reason == "forbidden"
    return Check(what=what, ok=False, detail=str(error), missing_permission=READER if refused else "")


def build(
    account: azure.Account, *, following: Mapping[str, float] | None = None, reader: Reader = "sdk"
) -> AzureBlobStore:
    """The store of Azure's blobs, as seen by this account; `following` has the fields of `Following`. `fast` reads by
    obstore what is pinned to an etag, and asks the SDK about the rest. Raises `ConfigError` when a package that it
    needs is not there."""
    azure.require_sdk()
    if reader == "fast":
        require_obstore()
    return AzureBlobStore(account, Following(**(following or {})), reader=reader)


def from_environment() -> AzureBlobStore:
    """The store as every Azure tool sees it: by `AZURE_STORAGE_CONNECTION_STRING`, or as whom
    `DefaultAzureCredential` finds us to be. Raises `ConfigError` without the SDK."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    return build(azure.Account(connection_string=(lambda: text) if text else None, cloud=azure.PUBLIC_SUFFIX))
