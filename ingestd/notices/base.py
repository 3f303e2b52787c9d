"""The contract of a notice parser: a queue body becomes ObjectRefs. Pure functions, no I/O.

One file per envelope family, each with `parse(body, attributes) -> Notice | None`, where `body` is the decoded
JSON document, or the text of a body that holds none; None means "not mine".
`notices.parse` asks them in a fixed order. `tests/conformance/test_notices.py` holds each to this page:
no input makes a parser raise.
"""

from __future__ import annotations

import msgspec

from ingestd.model import ObjectRef


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a message that asks for nothing: a test event, a delete, a folder. Acknowledged and counted."""

    reason: str
    key: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a message asks for. Both lists may be filled; both empty is impossible."""

    objects: tuple[ObjectRef, ...] = ()
    ignored: tuple[Ignored, ...] = ()


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """No parser understood the message: it goes to the table `rejects`, then by policy."""

    detail: str
