"""Rejects that the parent writes itself: of messages and objects of which no child ever saw a byte."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ingestd.lake.batch import BatchBuilder
from ingestd.model import ChunkResult, Delivery, Identity, ObjectDone, Span, row_id, row_id_prefix

PAYLOAD_BYTES = 65_536

DONE = ObjectDone(task=0, records=1, plain_bytes=0, framing="message")
"""How a rejected message ends: it has one record, the reject."""


def of_findings(source: str, identity: Identity, findings: Sequence[tuple[str, str, str]]) -> ChunkResult:
    """Rows of `rejects` for what was found wrong with objects: reason, detail and URL of each."""
    builder, prefix = BatchBuilder(lambda _: ()), row_id_prefix(identity)
    for ordinal, (reason, detail, url) in enumerate(findings):
        builder.add_reject(
            source=source,
            origin={"url": url},
            identity=identity,
            ordinal=ordinal,
            row_id=row_id(prefix, ordinal),
            reason=reason,
            detail=detail,
            log_type="",
            offset=None,
            payload=b"",
            parse_time=_now(),
        )
    return ChunkResult(spans=(Span(task=0, identity=identity, first=0, end=len(findings)),), tables=builder.take())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f000")


def of_message(delivery: Delivery, identity: Identity, reason: str, detail: str) -> ChunkResult:
    """The one row of `rejects` that stands for a message."""
    builder = BatchBuilder(lambda _: ())
    builder.add_reject(
        source=delivery.source,
        origin={"message_id": delivery.message_id},
        identity=identity,
        ordinal=0,
        row_id=row_id(row_id_prefix(identity), 0),
        reason=reason,
        detail=detail,
        log_type="",
        offset=None,
        payload=delivery.body[:PAYLOAD_BYTES],
        parse_time=_now(),
    )
    return ChunkResult(spans=(Span(task=0, identity=identity, first=0, end=1),), tables=builder.take())
