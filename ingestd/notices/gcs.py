"""Notifications of Cloud Storage by Pub/Sub: what happened is in the attributes, the object itself in the body.

The body has the form that the notification was made with: the object's metadata (`JSON_API_V1`) or nothing (`NONE`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ingestd.model import ObjectRef
from ingestd.notices.base import Ignored, Notice

MAX_NAME_BYTES = 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_NEEDED = ("notificationConfig", "bucketId", "objectId")


def is_notification(attributes: Mapping[str, str]) -> bool:
    """Whether a message comes from Cloud Storage, as far as its attributes say."""
    return attributes.get("eventType", "").startswith("OBJECT_") and all(name in attributes for name in _NEEDED)


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The object that was written, pinned to its generation."""
    if not is_notification(attributes):
        return None
    bucket, name, generation = (attributes.get(word, "") for word in ("bucketId", "objectId", "objectGeneration"))
    if not _BUCKET.fullmatch(bucket) or not _is_name(name) or not (generation.isascii() and generation.isdigit()):
        return None
    size = _size(body)
    reason = _nothing_to_read(attributes["eventType"], name, size)
    if reason is not None:
        return Notice(ignored=(Ignored(reason=reason, key=f"gs://{bucket}/{name}"),))
    return Notice(objects=(ObjectRef(store="gs", bucket=bucket, key=name, etag=generation, size=size),))


def _nothing_to_read(kind: str, name: str, size: int | None) -> str | None:
    if kind == "OBJECT_DELETE":
        return "deleted"
    if kind != "OBJECT_FINALIZE":
        return "not_written"
    if size == 0:
        return "folder" if name.endswith("/") else "empty"
    return None


def _size(body: Any) -> int | None:
    """Bytes, which the API writes as text."""
    size = body.get("size") if isinstance(body, dict) else None
    if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20:
        return int(size)
    return None


def _is_name(name: str) -> bool:
    try:
        return 0 < len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False
