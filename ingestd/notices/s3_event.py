"""S3's own event notification, `{"Records": [{"eventSource": "aws:s3", …}]}`, and its `s3:TestEvent`.

MinIO, Ceph and other servers with the same API send the same. Keys are encoded as in a query string: `+` is a
blank, `%2B` a plus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from ingestd.model import ObjectRef
from ingestd.notices._s3 import object_or_ignored
from ingestd.notices.base import Ignored, Notice

_REMOVED = ("ObjectRemoved:", "LifecycleExpiration:")
_WRITTEN = ("ObjectCreated:", "ObjectRestore:Completed")
"""A restore from the archive makes readable what could not be read before."""


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    size: int | None = None
    eTag: str | None = None  # noqa: N815 - the notice's own spelling
    versionId: str | None = None  # noqa: N815 - the same


class _S3(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct):
    eventSource: str  # noqa: N815 - the same
    eventName: str  # noqa: N815 - the same
    s3: _S3


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The objects of all records. None when any record is of another kind."""
    if not isinstance(body, dict):
        return None
    if body.get("Event") == "s3:TestEvent":
        return Notice(ignored=(Ignored(reason="test_event"),))
    if not isinstance(body.get("Records"), list) or not body["Records"]:
        return None
    try:
        records = msgspec.convert(body["Records"], list[_Record])
        asked = [_asked(record) for record in records]
    except (msgspec.ValidationError, UnicodeDecodeError):
        return None
    if any(one is None for one in asked):
        return None
    return Notice(
        objects=tuple(one for one in asked if isinstance(one, ObjectRef)),
        ignored=tuple(one for one in asked if isinstance(one, Ignored)),
    )


def _asked(record: _Record) -> ObjectRef | Ignored | None:
    if not record.eventSource.endswith(":s3"):
        return None
    key = unquote_plus(record.s3.object.key, errors="strict")
    event = record.eventName.removeprefix("s3:")
    if not event.startswith(_WRITTEN):
        reason = "deleted" if event.startswith(_REMOVED) else "not_written"
        return Ignored(reason=reason, key=f"s3://{record.s3.bucket.name}/{key}")
    found = record.s3.object
    return object_or_ignored(record.s3.bucket.name, key, size=found.size, etag=found.eTag, version=found.versionId)
