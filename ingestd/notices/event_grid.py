"""Event Grid about blobs, in its own schema and as CloudEvents 1.0, one event or a list of them.

What is read is what was written and is whole: with a hierarchical namespace a file is announced when it is made,
still empty, and again when it is flushed or committed. An append blob is announced once, when it is made; it is never
pinned, because it goes on growing. A rename is the new name of what may not have been read under the old one.
Addresses in validations are not visited: whoever may send into the queue would choose where the daemon goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingestd.model import ObjectRef
from ingestd.notices._azure import Blob, blob_at
from ingestd.notices.base import Ignored, Notice

_STORAGE = "Microsoft.Storage."
_SUBSCRIPTION = {
    "Microsoft.EventGrid.SubscriptionValidationEvent": "subscription_confirmation",
    "Microsoft.EventGrid.SubscriptionDeletedEvent": "unsubscribe_confirmation",
}
_DELETED = frozenset({"BlobDeleted", "DirectoryDeleted"})
_NOT_WHOLE_YET = frozenset({"CreateFile", "SftpCreate", "CreateDirectory"})
_SIZE_SAYS_NOTHING = frozenset({"FlushWithClose", "SftpCommit"})
"""Calls whose event has been seen with a length of 0 for a file that is not empty."""


class _Data(msgspec.Struct, rename="camel"):
    api: str = ""
    url: str = ""
    destination_url: str = ""
    e_tag: str | None = None
    content_length: int | None = None
    blob_type: str = ""
    access_tier: str | None = None
    previous_tier: str | None = None


class _Event(msgspec.Struct):
    """Either schema: the words differ, the data do not."""

    kind: str
    subject: str
    topic: str
    data: _Data


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The blobs of all events. None when any of them is of another kind."""
    documents = body if isinstance(body, list) else [body]
    asked = [_asked(document) for document in documents]
    if not asked or any(one is None for one in asked):
        return None
    return Notice(
        objects=tuple(one for one in asked if isinstance(one, ObjectRef)),
        ignored=tuple(one for one in asked if isinstance(one, Ignored)),
    )


def _asked(document: Any) -> ObjectRef | Ignored | None:
    if not isinstance(document, dict):
        return None
    words = ("type", "source") if "specversion" in document else ("eventType", "topic")
    kind, topic = (document.get(word) for word in words)
    if not isinstance(kind, str):
        return None
    if kind in _SUBSCRIPTION:
        return Ignored(reason=_SUBSCRIPTION[kind], key=topic if isinstance(topic, str) else "")
    if not kind.startswith(_STORAGE):
        return None
    try:
        event = _Event(
            kind.removeprefix(_STORAGE),
            msgspec.convert(document.get("subject", ""), str),
            msgspec.convert(topic or "", str),
            msgspec.convert(document.get("data"), _Data),
        )
    except msgspec.ValidationError:
        return None
    return _of_event(event)


def _of_event(event: _Event) -> ObjectRef | Ignored | None:
    if event.kind == "BlobCreated":
        return _created(event)
    if event.kind == "BlobRenamed":
        blob = blob_at(event.data.destination_url, topic=event.topic)
        return _reference(blob) if blob else None
    if event.kind == "BlobTierChanged" and _is_readable_again(event.data):
        blob = blob_at(event.data.url, topic=event.topic, subject=event.subject)
        return _reference(blob, event.data) if blob else None
    reason = "deleted" if event.kind in _DELETED else "not_written"
    return Ignored(reason=reason, key=event.subject)


def _created(event: _Event) -> ObjectRef | Ignored | None:
    blob = blob_at(event.data.url, topic=event.topic, subject=event.subject)
    if blob is None:
        return None
    reference = _reference(blob, event.data)
    if event.data.api in _NOT_WHOLE_YET:
        return Ignored(reason="not_written", key=reference.url)
    if event.data.blob_type == "PageBlob":
        return Ignored(reason="page_blob", key=reference.url)
    return Ignored(reason="empty", key=reference.url) if reference.size == 0 else reference


def _is_readable_again(data: _Data) -> bool:
    return data.previous_tier == "Archive" and data.access_tier != "Archive"


def _reference(blob: Blob, data: _Data | None = None) -> ObjectRef:
    grows = data is None or data.blob_type == "AppendBlob"
    return ObjectRef(
        store="az",
        bucket=blob.account,
        key=blob.path,
        version=blob.version,
        etag=None if grows or data is None else (data.e_tag or "").strip('"') or None,
        size=None if grows or data is None or data.api in _SIZE_SAYS_NOTHING else data.content_length,
    )
