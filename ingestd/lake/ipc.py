"""Rows as bytes that cross the process boundary."""

from __future__ import annotations

import pyarrow as pa

_END_BYTES = 8
"""What closes a stream."""


def ipc_stream(rows: pa.RecordBatch) -> memoryview:
    """An Arrow IPC stream of one record batch, written once: its size is known before."""
    size = rows.schema.serialize().size + pa.ipc.get_record_batch_size(rows) + _END_BYTES
    stream = pa.allocate_buffer(size)
    with pa.FixedSizeBufferWriter(stream) as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return memoryview(stream)
