"""Records that are rows of a Parquet file.

The index of such a file is its end, so the file is kept, in memory while it is small and then in a temporary file,
until it is whole. Rows are then made in small groups. Texts stay in their dictionaries until it is known how long the
rows become: a few bytes of a file may stand for gigabytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ingestd.decode import parquet_index
from ingestd.decode.block import Block, Damage, Fatal, Record
from ingestd.decode.limits import MIB, Limits
from ingestd.decode.rows import RowWriter

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_IN_MEMORY: Final = 256 * 1024
"""Of one file; a worker may have hundreds of them open."""
_READ_BYTES: Final = MIB
"""How much of a column is read at once, in the place of all of it."""
_BATCH_ROWS: Final = 1024
_SLICE_BYTES: Final = 4 * MIB
"""Plain size of the rows that are made at once."""
_MOST_INDEX: Final = 8 * MIB
_MOST_COLUMNS: Final = 10_000


class ParquetFramer:
    """The `parquet` framing. A row group that cannot be read, or the rest of it, is one `Damage`; the next comes."""

    tail_open = False

    def __init__(self, limits: Limits, offset: int) -> None:
        self._limits = limits
        self._base = offset
        self._size = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed at the end
        self._writer = RowWriter(limits)

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        self._size += len(data)
        if self._size > self._limits.max_kept_bytes:
            raise Fatal("object_too_long", f"a Parquet file of more than {self._limits.max_kept_bytes} bytes")
        self._file.write(data)
        yield from ()

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        if self._size == 0:
            return
        try:
            yield from self._rows()
        finally:
            self._file.close()

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        self._file.close()
        return self._base, b""

    def _rows(self) -> Iterator[Block]:
        from pyarrow import ArrowException

        rows_at_once = self._rows_at_once(self._index())
        try:
            file = self._open()
            groups = file.num_row_groups
        except (ArrowException, OSError, ValueError, MemoryError) as error:
            raise Fatal("corrupt_parquet", f"the Parquet file has no usable index: {error}") from error
        for group in range(groups):
            try:
                for batch in file.iter_batches(rows_at_once, row_groups=[group], use_threads=False):
                    yield from self._batch(batch)
            except (ArrowException, OSError, ValueError, NotImplementedError, MemoryError) as error:
                yield self._damage("corrupt_parquet", f"row group {group} cannot be read on: {error}")

    def _index(self) -> bytes:
        """The bytes of the index. Raises Fatal when the file cannot be whole."""
        self._file.seek(max(0, self._size - 8))
        size, mark = int.from_bytes(self._file.read(4), "little"), self._file.read(4)
        if mark == _ENCRYPTED:
            raise Fatal("encrypted_parquet", "the index of the Parquet file is encrypted")
        if mark != MAGIC or self._size < 12:
            raise Fatal("truncated", "the Parquet file ends before its index")
        if size > min(_MOST_INDEX, self._size - 12):
            raise Fatal("corrupt_parquet", f"the index of the Parquet file has {size} bytes")
        self._file.seek(self._size - 8 - size)
        return self._file.read(size)

    def _rows_at_once(self, index: bytes) -> int:
        """How many rows fit a batch. Raises Fatal when the index itself says that this is a bomb."""
        try:
            sizes = parquet_index.sizes(index)
        except ValueError as error:
            raise Fatal("corrupt_parquet", f"the Parquet file has no usable index: {error}") from error
        limits, plain = self._limits, sizes.plain_bytes + sizes.values
        if plain > limits.max_plain_bytes or plain > max(limits.ratio_from_bytes, limits.max_ratio * self._size):
            detail = f"{self._size} bytes stand for {plain}: more than {limits.max_ratio} to one"
            raise Fatal("expansion_limit", detail)
        return min(_BATCH_ROWS, max(1, _SLICE_BYTES * sizes.rows // max(1, 4 * plain)))

    def _open(self) -> ParquetFile:
        from pyarrow.parquet import ParquetFile

        # reading ahead would take threads, and whole columns into memory
        options: dict[str, Any] = {"pre_buffer": False, "buffer_size": _READ_BYTES}
        options["page_checksum_verification"] = True
        metadata = ParquetFile(self._file, **options).metadata
        if metadata.num_columns > _MOST_COLUMNS:
            raise ValueError(f"it has {metadata.num_columns} columns")
        columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        return ParquetFile(self._file, metadata=metadata, read_dictionary=texts, **options)

    def _batch(self, batch: pa.RecordBatch) -> Iterator[Block]:
        """The rows of the batch, in as many parts as their size asks for."""
        todo = [batch]
        while todo:
            part = todo.pop()
            size = sum(map(_plain_bytes, part.columns))
            if part.num_rows > 1 and size > _SLICE_BYTES:
                todo += _halves(part)
            elif size > 2 * self._limits.max_record_bytes:
                yield self._damage("record_too_long", f"the row is longer than {self._limits.max_record_bytes} bytes")
            else:
                try:
                    rows = _plain_batch(part).to_pylist(maps_as_pydicts="lossy")
                except UnicodeDecodeError as error:
                    if part.num_rows > 1:
                        todo += _halves(part)
                    else:
                        yield self._damage("invalid_utf8", f"a text of the row is not UTF-8: {error.reason}")
                    continue
                records: list[Record] = [self._writer.record(row, self._size, self._base) for row in rows]
                if records:
                    yield Block(records, offsets=[self._base] * len(records))

    def _damage(self, reason: str, detail: str) -> Block:
        return Block([Damage(reason=reason, detail=detail, offset=self._base)], offsets=[self._base])


def _halves(part: pa.RecordBatch) -> list[pa.RecordBatch]:
    """The second half, then the first, which is taken next."""
    half = part.num_rows // 2
    return [part.slice(half), part.slice(0, half)]


def _plain_bytes(array: Any) -> int:
    """Size of the values of an Arrow array once texts have left their dictionaries."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return len(array) + (pc.sum(lengths).as_py() or 0)
    if pa.types.is_map(kind):
        first, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return len(array) + sum(_plain_bytes(part.slice(first, end - first)) for part in (array.keys, array.items))
    if pa.types.is_struct(kind):
        return len(array) + sum(map(_plain_bytes, array.flatten()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return len(array) + _plain_bytes(array.flatten())
    return len(array) + int(array.nbytes)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that has a JSON form: times as texts, which may lie beyond what Python has, and no dictionaries."""
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind):
        return pa.string()
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    return batch.cast(pa.schema([field.with_type(_plain_type(field.type)) for field in batch.schema]))
