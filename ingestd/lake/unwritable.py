"""What becomes of a chunk that the lake cannot write: one reject for each run of records in it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ingestd.lake.batch import BatchBuilder
from ingestd.lake.parquet import Kept
from ingestd.model import row_id, row_id_prefix

REASON = "lake_unwritable"


def as_rejects(kept: Kept, error: Exception) -> Kept:
    """The chunk with rejects in place of its rows; its spans stay, so that its records count as read."""
    builder = BatchBuilder(lambda _: ())
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}000"
    result = kept.result
    source = result.counts[0].source if result.counts else ""
    for span in result.spans:
        builder.add_reject(
            source=source,
            origin={},
            identity=span.identity,
            ordinal=span.first,
            row_id=row_id(row_id_prefix(span.identity), span.first),
            reason=REASON,
            detail=f"records {span.first} to {span.end - 1}, and what else was in their chunk: {error!r:.1000}",
            log_type="",
            offset=None,
            payload=b"",
            parse_time=now,
        )
    return Kept(msgspec.structs.replace(result, tables=builder.take()), kept.alert_ids)
