"""Rejects that the parent writes itself: of messages and objects of which no child ever saw a byte."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ingestd.lake.batch import BatchBuilder
from ingestd.model import ChunkResult, Delivery, Identity, ObjectDone, Range, Span, row_id, row_id_prefix

PAYLOAD_BYTES = 65_536


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


def of_message(
    delivery: Delivery, identity: Identity, reason: str, detail: str, skip: Sequence[Range] = ()
) -> tuple[ChunkResult, ObjectDone]:
    """The one row of `rejects` that stands for a message, or for what is left of it when it is events itself and
    those in `skip` are committed; and the end of the message."""
    ordinal = skip[-1][1] if skip else 0
    builder = BatchBuilder(lambda _: ())
    builder.add_reject(
        source=delivery.source,
        origin={"message_id": delivery.message_id},
        identity=identity,
        ordinal=ordinal,
        row_id=row_id(row_id_prefix(identity), ordinal),
        reason=reason,
        detail=detail,
        log_type="",
        offset=None,
        payload=delivery.body[:PAYLOAD_BYTES],
        parse_time=_now(),
    )
    starts = (0, *(end for _, end in skip))
    ends = (*(first for first, _ in skip), ordinal + 1)
    left = [Span(task=0, identity=identity, first=first, end=end) for first, end in zip(starts, ends, strict=True)]
    spans = tuple(span for span in left if span.first < span.end)
    done = ObjectDone(task=0, records=ordinal + 1, plain_bytes=0, framing="message")
    return ChunkResult(spans=spans, tables=builder.take()), done
