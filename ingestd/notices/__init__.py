"""Notices: queue bodies to ObjectRefs. One file per envelope family; the contract is in `base.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ingestd.notices import cloudtrail, event_grid, eventbridge, gcs, local_file, object_list, s3_event, sns
from ingestd.notices._body import decode
from ingestd.notices.base import Notice, Unknown
from ingestd.notices.gcs import is_notification as is_notification

Parser = Callable[[Any, Mapping[str, str]], Notice | None]

PARSERS: tuple[Parser, ...] = (
    local_file.parse,
    s3_event.parse,
    eventbridge.parse,
    event_grid.parse,
    gcs.parse,
    cloudtrail.parse,
    sns.parse,
    object_list.parse,
)
"""Asked in this order; the first that knows the message wins."""

MAX_ENVELOPES = 3
"""Topics may feed topics; nobody needs more than this."""
SHOWN_BYTES = 200


def parse(body: bytes, attributes: Mapping[str, str]) -> Notice | Unknown:
    """What a message asks for. Never raises, whatever the message holds."""
    content: bytes | str | None = body
    for _ in range(1 + MAX_ENVELOPES):
        document = decode(content or b"")
        for parser in PARSERS:
            notice = parser(document, attributes)
            if notice is not None:
                return notice
        content = sns.unwrap(document)
        if content is None:
            break
    what = "not JSON" if isinstance(document, str) else "no known notice"
    return Unknown(detail=f"{what}: {body[:SHOWN_BYTES]!r}")
