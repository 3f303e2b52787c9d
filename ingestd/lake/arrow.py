"""Python rows into typed Arrow columns.

A row is a dict as rules see it; a table is a tuple of `model.Column`. Objects with declared fields become structs,
which cost 2 us per event more than JSON text would and let `userIdentity.arn` be queried. Nearly all rows go the fast
way of `joined`; the others are converted value by value. A value that does not fit its column never costs the row: it
moves, as JSON, to the column `p_unknown_fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingestd.lake.joined import Joiner, Piece, can_join
from ingestd.lake.jsontext import json_text
from ingestd.model import Column

Row = Mapping[str, Any]
Array: TypeAlias = "pa.Array[Any]"

UNKNOWN_FIELDS = "p_unknown_fields"
"""JSON object, dotted path → value: what a row carried that the table has no typed place for."""

TIMESTAMP = pa.timestamp("us", "UTC")
_NAIVE = pa.timestamp("us")
_EMPTY, _NO_TEXT = pa.scalar(""), pa.scalar(None, pa.string())

_PIECE_ROWS = 512
"""Rows that are split together, see `joined`."""

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "smallint": pa.int16(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": TIMESTAMP,
    "json": pa.string(),
}

_MISFIT = (pa.ArrowException, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)
"""What Arrow and the JSON encoders raise on a value that does not fit."""


def arrow_type(column: Column) -> pa.DataType:
    """The type of a column in the lake.

    An object that declares no fields is JSON text: Parquet has no empty structs.
    """
    if column.kind == "array":
        return pa.list_(pa.field("element", arrow_type(column.children[0])))
    if column.kind == "object" and column.children:
        return pa.struct([pa.field(child.name, arrow_type(child)) for child in column.children])
    return _SCALARS["json" if column.kind == "object" else column.kind]


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of a table."""
    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


class TableBuilder:
    """Collects rows of one table and gives them back as one record batch.

    A row is copied on `append` and not touched.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        if all(column.name != UNKNOWN_FIELDS for column in columns):
            columns = (*columns, Column(name=UNKNOWN_FIELDS, kind="json"))
        self.schema = arrow_schema(columns)
        self.misfits = 0
        """Values that had to move to `p_unknown_fields`, ever."""
        self._raw = {column.name: _raw_type(column) for column in columns}
        self._timed = [name for name, raw in self._raw.items() if raw != self.schema.field(name).type]
        self._encoders = {column.name: encode for column in columns if (encode := _json_encoder(column))}
        self._joiner = Joiner([column for column in columns if can_join(column)])
        self._join = self._joiner.join
        self._texts: list[str] = []
        self._pieces: list[Piece] = []
        """Rows before those of `_texts`."""
        self._values: dict[str, list[Any]] = {column.name: [] for column in columns if not can_join(column)}
        """Columns that cannot be joined, row by row."""
        self._odd: list[dict[str, Any]] = []
        self._odd_places: list[int] = []
        """Rows that could not be joined, and where they belong."""

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; keys that are no column are ignored."""
        try:
            text = self._join(row)
        except _MISFIT:
            self._append_odd(row)
            return
        self._add(text)
        for name, values in self._values.items():
            value = row.get(name)
            values.append(value if value is None else self._encoded(name, value))

    def take(self) -> pa.RecordBatch:
        """All rows since the last call, in order."""
        moved: dict[int, dict[str, Any]] = {}
        rows = self._rows
        self._cut()
        arrays = self._joiner.columns(self._pieces)
        for name, values in self._values.items():
            arrays[name] = _array(values, name, self._raw[name], moved)
        if self._odd:
            arrays = self._with_odd(arrays, rows)
        for name in self._timed:
            arrays[name] = _parse_times(arrays[name], name, self.schema.field(name).type, moved)
        if moved:
            self.misfits += sum(map(len, moved.values()))
            arrays[UNKNOWN_FIELDS] = _with_moved(arrays[UNKNOWN_FIELDS], moved)
        self._pieces = []
        self._values = {name: [] for name in self._values}
        return pa.RecordBatch.from_arrays([arrays[name] for name in self._raw], schema=self.schema)

    @property
    def _rows(self) -> int:
        return _PIECE_ROWS * len(self._pieces) + len(self._texts)

    def _add(self, text: str) -> None:
        self._texts.append(text)
        if len(self._texts) == _PIECE_ROWS:
            self._cut()

    def _cut(self) -> None:
        self._pieces.append(self._joiner.cut(self._texts))
        self._texts = []

    def _encoded(self, name: str, value: Any) -> Any:
        encode = self._encoders.get(name)
        return encode(value) if encode else value

    # --- the slow way ---------------------------------------------------------------------------------------

    def _append_odd(self, row: dict[str, Any]) -> None:
        """Keep the row as it is, with each value that does not fit moved to `p_unknown_fields`."""
        kept = {name: self._encoded(name, row[name]) for name in self._raw if row.get(name) is not None}
        unfit = [name for name, value in kept.items() if not _fits(value, self._raw[name])]
        if unfit:
            self.misfits += len(unfit)
            kept[UNKNOWN_FIELDS] = _merged(kept.get(UNKNOWN_FIELDS), {name: row[name] for name in unfit})
            for name in unfit:
                del kept[name]
        self._odd_places.append(self._rows)
        self._odd.append(kept)
        self._add(self._joiner.placeholder)
        for values in self._values.values():
            values.append(None)

    def _with_odd(self, arrays: dict[str, Array], rows: int) -> dict[str, Array]:
        """The columns of `rows` rows with the odd ones in their places."""
        places = list(range(rows))
        for number, place in enumerate(self._odd_places):
            places[place] = rows + number
        order = pa.array(places, pa.int32())
        odd = {name: _fitting([row.get(name) for row in self._odd], raw) for name, raw in self._raw.items()}
        self._odd, self._odd_places = [], []
        return {name: pa.concat_arrays([array, odd[name]]).take(order) for name, array in arrays.items()}


def _array(values: list[Any], name: str, wanted: pa.DataType, moved: dict[int, dict[str, Any]]) -> Array:
    """The values as a column; one that does not fit is null and lands in `moved`."""
    try:
        return cast("Array", pa.array(values, wanted))
    except _MISFIT:
        pass
    kept = list(values)
    for row, value in enumerate(values):
        if not _fits(value, wanted):
            moved.setdefault(row, {})[name] = value
            kept[row] = None
    return cast("Array", pa.array(kept, wanted))


def _fitting(values: list[Any], wanted: pa.DataType) -> Array:
    """Values of which each fits, although Arrow may not like them beside each other: `{}` and `[]` for a struct."""
    try:
        return cast("Array", pa.array(values, wanted))
    except _MISFIT:
        return pa.concat_arrays([pa.array([value], wanted) for value in values])


def _fits(value: Any, wanted: pa.DataType) -> bool:
    if isinstance(wanted, pa.ListType) and isinstance(value, str):
        return False  # Arrow would take a text for the list of its letters
    try:
        pa.array([value], wanted)
    except _MISFIT:
        return False
    return True


def _merged(text: Any, moved: Mapping[str, Any]) -> bytes:
    """The JSON object `text` (or nothing) with more keys in it."""
    before = orjson.loads(text) if text else {}
    return json_text({**(before if isinstance(before, dict) else {"_value": before}), **moved})


def _with_moved(unknown: Array, moved: Mapping[int, Mapping[str, Any]]) -> Array:
    texts = unknown.to_pylist()
    for row, values in moved.items():
        texts[row] = _merged(texts[row], values)
    return cast("Array", pa.array(texts, unknown.type))


def _parse_times(array: Array, name: str, wanted: pa.DataType, moved: dict[int, dict[str, Any]]) -> Array:
    """`array` with its timestamps parsed; a value that has one that cannot be parsed is null and lands in `moved`."""
    try:
        return _with_timestamps(array, wanted)
    except _MISFIT:
        bad = _unparsable(array, wanted, 0)
    for row in bad:
        moved.setdefault(row, {})[name] = _pruned(array[row].as_py())
    null = set(bad)
    good = pa.array([row not in null for row in range(len(array))])
    return _with_timestamps(pc.if_else(good, array, pa.scalar(None, array.type)), wanted)


def _pruned(value: Any) -> Any:
    """Without the nulls that a struct has for fields the event did not have."""
    if isinstance(value, dict):
        return {name: _pruned(part) for name, part in value.items() if part is not None}
    return value


def _unparsable(array: Array, wanted: pa.DataType, first: int) -> list[int]:
    """Positions of the values of `array` (which starts at `first`) whose timestamps cannot be parsed."""
    try:
        _with_timestamps(array, wanted)
    except _MISFIT:
        if len(array) == 1:
            return [first]
        middle = len(array) // 2
        return _unparsable(array[:middle], wanted, first) + _unparsable(array[middle:], wanted, first + middle)
    return []


def _raw_type(column: Column) -> pa.DataType:
    """The type of a column before its timestamps are parsed."""
    if column.kind == "timestamp":
        return pa.string()
    if column.kind == "array":
        return pa.list_(pa.field("element", _raw_type(column.children[0])))
    if column.kind == "object" and column.children:
        return pa.struct([pa.field(child.name, _raw_type(child)) for child in column.children])
    return arrow_type(column)


def _with_timestamps(array: Array, wanted: pa.DataType) -> Array:
    """`array` with every timestamp in it, at any depth, parsed from text.

    Nine digits of fraction come in and six are kept: a timestamp in microseconds reaches from year 1 to 9999,
    one in nanoseconds only from 1677 to 2262.
    """
    if array.type == wanted:
        return array
    if isinstance(wanted, pa.StructType):
        fields = list(wanted)
        parts = cast("pa.StructArray", array).flatten()
        children = [_with_timestamps(part, field.type) for part, field in zip(parts, fields, strict=True)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())
    if isinstance(wanted, pa.ListType):
        elements = _with_timestamps(cast("pa.ListArray[Any]", array).flatten(), wanted.value_type)
        lengths = pc.list_value_length(array).fill_null(0)
        offsets = pa.array([0, *pc.cumulative_sum(lengths).to_pylist()], pa.int32())
        return pa.ListArray.from_arrays(offsets, elements, type=wanted, mask=array.is_null())
    return _parsed(cast("pa.StringArray", array)).cast(wanted)


def _parsed(texts: pa.StringArray) -> Array:
    """Timestamps without zone; empty texts are null, which is also what Arrow leaves below a null parent."""
    texts = pc.utf8_slice_codeunits(texts, 0, 26)
    return cast("Array", pc.if_else(pc.equal(texts, _EMPTY), _NO_TEXT, texts)).cast(_NAIVE)


def _json_encoder(column: Column) -> Callable[[Any], Any] | None:
    """What turns the JSON parts of a column's values into text; None when the column has no such part."""
    if column.kind == "json" or (column.kind == "object" and not column.children):
        return json_text
    if column.kind == "array":
        return _array_encoder(_json_encoder(column.children[0]))
    if column.kind == "object":
        inner = {child.name: encode for child in column.children if (encode := _json_encoder(child))}
        return _object_encoder(inner) if inner else None
    return None


def _array_encoder(encode: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if encode is None:
        return None

    def encode_array(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [None if element is None else encode(element) for element in value]

    return encode_array


def _object_encoder(inner: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def encode_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        encoded = value
        for name, encode in inner.items():
            part = value.get(name)
            if part is not None and (text := encode(part)) is not part:
                if encoded is value:  # most objects hold no JSON: those are not copied
                    encoded = dict(value)
                encoded[name] = text
        return encoded

    return encode_object
