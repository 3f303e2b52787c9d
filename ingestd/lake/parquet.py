"""The parent's side of the data: children's Arrow batches, put together unseen, into Parquet bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ingestd.lake.ipc import ipc_stream
from ingestd.lake.layout import folder
from ingestd.lake.tables import ALERT_ID, SEVERITIES
from ingestd.model import ChunkResult, Table, TableBatch

ROWS_PER_GROUP = 65_536
"""Enough for good statistics and compression, and little enough for a reader's memory."""


class EncodedFile(msgspec.Struct, frozen=True):
    """One file to be: where it belongs and what is in it."""

    table: Table
    folder: str
    """Relative to the lake."""
    rows: int
    data: memoryview


class Kept(msgspec.Struct, frozen=True):
    """A chunk as it waits for its commit. `alert_ids` runs parallel to `result.matches`."""

    result: ChunkResult
    alert_ids: Sequence[str | None]


def encode(chunks: Iterable[Kept]) -> list[EncodedFile]:
    """The files that hold all rows of the chunks: one for each table, log type, day and form of the columns.

    Two forms come together only around a reload that changed a schema. Raises whatever Arrow or the layout makes
    of a chunk that cannot be written.
    """
    groups: dict[tuple[Table, str, pa.Schema], list[pa.RecordBatch]] = {}
    for kept in chunks:
        for batch in kept.result.tables:
            where = folder(batch.table, batch.log_type, batch.day)
            for records in _records(batch, kept):
                groups.setdefault((batch.table, where, records.schema), []).append(records)
    return [
        EncodedFile(table, where, sum(records.num_rows for records in group), _parquet(schema, group))
        for (table, where, schema), group in groups.items()
    ]


def without(kept: Kept, prefixes: Sequence[str]) -> Kept:
    """The chunk without the rows whose `p_row_id` begins with one of `prefixes`, i.e. of some identities."""
    tables = []
    for batch in kept.result.tables:
        records = pa.Table.from_batches(list(_read(batch)))
        row_ids = records.column("p_row_id").to_pylist()
        rows = [row for row, row_id in enumerate(row_ids) if not str(row_id).startswith(tuple(prefixes))]
        if not rows:
            continue
        matches = tuple(batch.matches[row] for row in rows) if batch.matches else ()
        ipc = ipc_stream(records.take(pa.array(rows)).combine_chunks().to_batches()[0])
        tables.append(msgspec.structs.replace(batch, rows=len(rows), ipc=ipc, matches=matches))
    return Kept(msgspec.structs.replace(kept.result, tables=tuple(tables)), kept.alert_ids)


def _read(batch: TableBatch) -> Iterable[pa.RecordBatch]:
    with pa.ipc.open_stream(pa.py_buffer(batch.ipc)) as reader:
        yield from reader


def _records(batch: TableBatch, kept: Kept) -> Iterable[pa.RecordBatch]:
    first = 0
    for records in _read(batch):
        if batch.table in {"rule_matches", "rule_errors"}:
            matches = batch.matches[first : first + records.num_rows]
            first += records.num_rows
            yield _alerted(records, matches, kept)
        else:
            yield records


def _alerted(records: pa.RecordBatch, matches: Sequence[int], kept: Kept) -> pa.RecordBatch:
    """Rows of matches with what only the alert state knows: the alert, and its severity."""
    severities = pa.array([kept.result.matches[match].severity for match in matches], pa.string())
    for name in SEVERITIES:
        at = records.schema.get_field_index(name)
        records = records.set_column(at, records.schema.field(at), severities)
    return records.append_column(ALERT_ID, pa.array([kept.alert_ids[match] for match in matches], pa.string()))


def _parquet(schema: pa.Schema, batches: list[pa.RecordBatch]) -> memoryview:
    sink = pa.BufferOutputStream()
    # zstd 1: a third of the time of 3 and nearly its size. Dictionaries pay on almost every log column, and Parquet
    # gives them up by itself where values do not repeat.
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
    with pq.ParquetWriter(sink, schema, **options) as writer:
        writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=ROWS_PER_GROUP)
    return memoryview(sink.getvalue())
