"""Notices: queue bodies to ObjectRefs. One file per envelope family; the contract is in `base.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ingestd.notices import local_file, object_list
from ingestd.notices.base import Notice, Unknown

Parser = Callable[[Any, Mapping[str, str]], Notice | None]

PARSERS: tuple[Parser, ...] = (local_file.parse, object_list.parse)
"""Asked in this order; the first that knows the message wins."""

SHOWN_BYTES = 200


def parse(body: bytes, attributes: Mapping[str, str]) -> Notice | Unknown:
    """What a message asks for. Never raises, whatever the message holds."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Unknown(detail=f"not JSON: {body[:SHOWN_BYTES]!r}")
    for parser in PARSERS:
        notice = parser(document, attributes)
        if notice is not None:
            return notice
    return Unknown(detail=f"no known notice: {body[:SHOWN_BYTES]!r}")
