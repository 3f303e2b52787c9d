"""A plain list of objects, of a backfill and of tools of one's own:
`{"objects": [{"store", "bucket", "key", "etag"?, "size"?}]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingestd.model import ObjectRef
from ingestd.notices._s3 import object_or_ignored
from ingestd.notices.base import Ignored, Notice


class _Entry(msgspec.Struct):
    store: str
    bucket: str
    key: str
    version: str | None = None
    etag: str | None = None
    size: int | None = None


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """The objects of the list; None when any entry is not of the form."""
    if not isinstance(body, dict) or not isinstance(body.get("objects"), list) or not body["objects"]:
        return None
    try:
        entries = msgspec.convert(body["objects"], list[_Entry])
    except msgspec.ValidationError:
        return None
    asked = [_asked(entry) for entry in entries]
    if any(one is None for one in asked):
        return None
    return Notice(
        objects=tuple(one for one in asked if isinstance(one, ObjectRef)),
        ignored=tuple(one for one in asked if isinstance(one, Ignored)),
    )


def _asked(entry: _Entry) -> ObjectRef | Ignored | None:
    if entry.store != "s3":
        return ObjectRef(**msgspec.structs.asdict(entry))
    return object_or_ignored(entry.bucket, entry.key, size=entry.size, etag=entry.etag, version=entry.version)
