"""Collects what one chunk gave (events, matches, rejects) into typed Arrow per table, log type and day.

Child side: no asyncio, nothing of the parent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ingestd.lake.arrow import TableBuilder
from ingestd.lake.ipc import ipc_stream
from ingestd.lake.tables import ERROR_COLUMNS, MATCH_COLUMNS, REJECT_COLUMNS, match_row
from ingestd.model import Column, Match, Table, TableBatch

TYPICAL_EVENT_BYTES = 1_500

MAX_PARTITIONS = 32
"""Days and log types of one `take`, beyond which rows go to the day they were parsed: a file with a hundred thousand
invented dates must not become as many Parquet files."""

OLDEST_DAY = "2000-01-01"
DAYS_AHEAD = 2

MAX_PAYLOAD_BYTES = 65_536

_FIXED_COLUMNS: dict[Table, tuple[Column, ...]] = {
    "rule_matches": MATCH_COLUMNS,
    "rule_errors": ERROR_COLUMNS,
    "rejects": REJECT_COLUMNS,
}


class _Partition:
    """Rows of one table, log type and day."""

    __slots__ = ("append", "builder", "day", "log_type", "matches", "table")

    def __init__(self, table: Table, log_type: str, day: str, builder: TableBuilder) -> None:
        self.table: Table = table
        self.log_type = log_type
        self.day = day
        self.builder = builder
        self.append = builder.append
        self.matches: list[int] = []


class BatchBuilder:
    """Rows in, `TableBatch`es out.

    `columns_of(log_type)` gives the columns of a log type's table, the standard `p_` ones included.
    `bytes` is an estimate of what `take` will return; `misfits` counts, per log type, values that did not fit their
    column and moved to `p_unknown_fields`.
    """

    def __init__(self, columns_of: Callable[[str], tuple[Column, ...]]) -> None:
        self._columns_of = columns_of
        self._partitions: dict[tuple[Table, str, str], _Partition] = {}
        self._aliases: dict[tuple[Table, str, str], _Partition] = {}
        self._idle: dict[tuple[Table, str], list[TableBuilder]] = {}
        self.rows = 0
        self.bytes = 0
        self.misfits: dict[str, int] = {}

    def add_event(self, event: dict[str, Any], size: int = TYPICAL_EVENT_BYTES) -> None:
        """Add a normalised event, which is copied. `size` is that of its record in bytes."""
        # The day of the text form `YYYY-MM-DD HH:MM:SS.fffffffff`.
        key: tuple[Table, str, str] = ("events", event["p_log_type"], event["p_event_time"][:10])
        partition = self._aliases.get(key) or self._open(key, event["p_parse_time"])
        partition.append(event)
        self.rows += 1
        self.bytes += size

    def add_match(self, index: int, match: Match, event: dict[str, Any]) -> None:
        """Add the row of `ChunkResult.matches[index]`: to `rule_errors` if it is an error, else to `rule_matches`."""
        table: Table = "rule_errors" if match.kind == "error" else "rule_matches"
        key = (table, match.log_type, match.event_time[:10])
        partition = self._aliases.get(key) or self._open(key, event.get("p_parse_time", ""))
        partition.append(match_row(match, event))
        partition.matches.append(index)
        self.rows += 1
        self.bytes += TYPICAL_EVENT_BYTES + len(match.context) + len(match.error or "")

    def add_reject(
        self,
        *,
        source: str,
        origin: dict[str, str],
        identity: str,
        ordinal: int,
        row_id: str,
        reason: str,
        detail: str,
        log_type: str,
        offset: int | None,
        payload: bytes,
        parse_time: str,
    ) -> None:
        """Add a record that was refused. What is not UTF-8 in the payload is shown as `\\xNN`."""
        partition = self._open(("rejects", log_type, parse_time[:10]), parse_time)
        partition.append(
            {
                "p_row_id": row_id,
                "p_log_type": log_type or None,
                "p_event_time": parse_time,
                "p_parse_time": parse_time,
                "p_source_id": source,
                "p_source_label": source,
                "p_source_file": origin,
                "identity": identity,
                "ordinal": ordinal,
                "stream_offset": offset,
                "reason": reason,
                "detail": detail,
                "payload": payload[:MAX_PAYLOAD_BYTES].decode("utf-8", "backslashreplace"),
                "payload_truncated": len(payload) > MAX_PAYLOAD_BYTES,
            },
        )
        self.rows += 1
        self.bytes += 500 + min(len(payload), MAX_PAYLOAD_BYTES)

    def take(self) -> tuple[TableBatch, ...]:
        """Everything added since the last call; starts anew."""
        taken = tuple(self._table_batch(partition) for partition in self._partitions.values())
        self._partitions.clear()
        self._aliases.clear()
        self.rows = self.bytes = 0
        return taken

    def _open(self, key: tuple[Table, str, str], parse_time: str) -> _Partition:
        """The partition for `key`, remembered under it: that of its day, or of the day it was parsed."""
        table, log_type, day = key
        parse_day = parse_time[:10] if _is_day(parse_time[:10]) else time.strftime("%Y-%m-%d", time.gmtime())
        if not _is_plausible(day, parse_day) or len(self._partitions) >= MAX_PARTITIONS:
            day = parse_day
        partition = self._partitions.get((table, log_type, day))
        if partition is None:
            partition = _Partition(table, log_type, day, self._table_builder(table, log_type))
            self._partitions[table, log_type, day] = partition
        self._aliases[key] = partition
        return partition

    def _table_builder(self, table: Table, log_type: str) -> TableBuilder:
        """An empty builder; making one costs more than converting a hundred rows, so they are used again."""
        idle = self._idle.get((table, log_type))
        return idle.pop() if idle else TableBuilder(_FIXED_COLUMNS.get(table) or self._columns_of(log_type))

    def _table_batch(self, partition: _Partition) -> TableBatch:
        builder = partition.builder
        batch = builder.take()
        if builder.misfits:
            self.misfits[partition.log_type] = self.misfits.get(partition.log_type, 0) + builder.misfits
            builder.misfits = 0
        self._idle.setdefault((partition.table, partition.log_type), []).append(builder)
        return TableBatch(
            table=partition.table,
            log_type=partition.log_type,
            day=partition.day,
            rows=batch.num_rows,
            ipc=ipc_stream(batch),
            matches=tuple(partition.matches),
        )


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and text.isascii() and date.fromisoformat(text) is not None
    except ValueError:
        return False


def _is_plausible(day: str, parse_day: str) -> bool:
    """Whether a log of `parse_day` may hold an event of `day`."""
    latest = datetime.fromisoformat(parse_day).replace(tzinfo=UTC).date() + timedelta(days=DAYS_AHEAD)
    return _is_day(day) and OLDEST_DAY <= day <= latest.isoformat()
