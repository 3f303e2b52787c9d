"""The directory source's own message: `{"ingestd": "file", "root": …, "path": …, "size": …}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestd.model import ObjectRef
from ingestd.notices.base import Notice


def parse(body: Any, attributes: Mapping[str, str]) -> Notice | None:
    """A file to read."""
    if not isinstance(body, dict) or body.get("ingestd") != "file":
        return None
    root, path, size = body.get("root"), body.get("path"), body.get("size")
    if not (isinstance(root, str) and isinstance(path, str) and isinstance(size, int)):
        return None
    return Notice(objects=(ObjectRef(store="file", bucket=root, key=path, size=size),))
