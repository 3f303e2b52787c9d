"""A plain list of objects, for tools of one's own: `{"objects": [{"store", "bucket", "key", "etag"?, "size"?}]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ingestd.model import ObjectRef
from ingestd.notices.base import Notice


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
    return Notice(objects=tuple(ObjectRef(**msgspec.structs.asdict(entry)) for entry in entries))
