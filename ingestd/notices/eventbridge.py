"""S3 by way of EventBridge, which is also how Security Lake tells its subscribers.

Three forms: S3's events (`"detail-type": "Object Created"`), Security Lake's notice (the same without a
`detail-type`), and S3's API calls by way of CloudTrail. Keys are plain here, unlike in S3's own notification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingestd.model import ObjectRef
from ingestd.notices._s3 import object_or_ignored
from ingestd.notices.base import Ignored, Notice

_API_CALL = "AWS API Call via CloudTrail"
_WRITTEN = frozenset({"Object Created", "Object Restore Completed"})
_WRITING_CALLS = frozenset({"PutObject", "CompleteMultipartUpload", "CopyObject"})
_DELETING_CALLS = frozenset({"DeleteObject", "DeleteObjects"})


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    size: int | None = None
    etag: str | None = None
    version: str | None = msgspec.field(name="version-id", default=None)


class _Detail(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _Parameters(msgspec.Struct):
    bucket: str = msgspec.field(name="bucketName", default="")
    key: str = ""


class _ApiCall(msgspec.Struct):
    event: str = msgspec.field(name="eventName")
    error: str | None = msgspec.field(name="errorCode", default=None)
    parameters: _Parameters | None = msgspec.field(name="requestParameters", default=None)


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The object of the event."""
    if not isinstance(body, dict) or body.get("source") != "aws.s3":
        return None
    kind = body.get("detail-type", "Object Created")
    if not isinstance(kind, str):
        return None
    try:
        if kind == _API_CALL:
            asked = _of_call(msgspec.convert(body.get("detail"), _ApiCall))
        else:
            asked = _of_event(kind, msgspec.convert(body.get("detail"), _Detail))
    except msgspec.ValidationError:
        return None
    if asked is None:
        return None
    return Notice(objects=(asked,)) if isinstance(asked, ObjectRef) else Notice(ignored=(asked,))


def _of_event(kind: str, detail: _Detail) -> ObjectRef | Ignored | None:
    bucket, found = detail.bucket.name, detail.object
    if kind not in _WRITTEN:
        reason = "deleted" if kind == "Object Deleted" else "not_written"
        return Ignored(reason=reason, key=f"s3://{bucket}/{found.key}")
    return object_or_ignored(bucket, found.key, size=found.size, etag=found.etag, version=found.version)


def _of_call(call: _ApiCall) -> ObjectRef | Ignored | None:
    target = call.parameters or _Parameters()
    if call.event in _WRITING_CALLS and call.error is None:
        return object_or_ignored(target.bucket, target.key)
    reason = "deleted" if call.event in _DELETING_CALLS else "not_written"
    return Ignored(reason=reason, key=f"s3://{target.bucket}/{target.key}")
