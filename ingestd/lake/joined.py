"""Rows as one line of text each, and many lines as Arrow columns: the fast way of `arrow.TableBuilder`.

An event as Python objects is some 10 KB in a hundred places. Kept alive until there are enough for one call into
Arrow, a few hundred of them push each other and the parser out of the processor's cache: measured with all cores
busy, that costs more than the conversion itself. So a row is joined to one text while it is still in the cache, by
code generated for its table, and Arrow splits hundreds of texts at once: so many that its calls cost little, so few
that turning rows into columns stays in the cache as well.

What cannot travel in such a text (a value of another type, a number out of range, the separator) raises
`Misfit`; such rows go the slow way. Arrays of anything but text stay Python objects until the end.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias, cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ingestd.lake.jsontext import json_text
from ingestd.model import Column

Array: TypeAlias = "pa.Array[Any]"

_PART = "\x1f"
# Nobody outside this process knows these; who guesses one changes a null or an array of his own event.
_ELEMENT = "\x1e" + secrets.token_urlsafe(2)
_NULL = "\x1d" + secrets.token_urlsafe(2)
"""Stands for null, as most parts of most rows are: hence short."""
_EMPTY = "\x1d" + secrets.token_urlsafe(4)
"""Stands for an empty array."""

_TRUE, _NULL_MARK, _EMPTY_MARK = pa.scalar("1"), pa.scalar(_NULL), pa.scalar(_EMPTY)
_NO_TEXT = pa.scalar(None, pa.string())
_TEXTS = pa.list_(pa.field("element", pa.string()))
_BITS = {"bigint": 64, "int": 32, "smallint": 16}


class Misfit(ValueError):
    """The row does not fit into a text."""


class Piece(NamedTuple):
    """Some rows, split: column after column instead of row after row, so that each column is a slice."""

    values: Array
    rows: int


class _Leaf(NamedTuple):
    """Part number `part` of the text is this column; of an object it tells whether it is there."""

    name: str
    kind: str
    part: int
    fields: tuple[_Leaf, ...] = ()


def can_join(column: Column) -> bool:
    """Whether values of the column can be parts of a text."""
    if column.kind == "array":
        return column.children[0].kind == "string"
    return column.kind != "object" or (
        all(map(can_join, column.children)) and not any(child.kind == "array" for child in column.children)
    )


class Joiner:
    """The code for one table."""

    def __init__(self, columns: Sequence[Column]) -> None:
        strict = _Code("{get}, NULL)", "dumps(v)")
        tolerant = _Code("NULL if (v := {get})) is None else v", "json_text(v)")
        for column in columns:
            strict.add(column)
            tolerant.add(column)
        self._leaves, self._parts = strict.leaves, strict.parts
        self._strict, self._tolerant = strict.compile(), tolerant.compile()
        self.placeholder = _PART.join([_NULL] * self._parts)
        """The text of a row without values."""

    def join(self, row: dict[str, Any]) -> str:
        """The text of a row. Raises `Misfit`, or what Python makes of a value of the wrong type."""
        try:
            return self._strict(row)
        except TypeError:  # a key that is there with null, or a value that is no JSON
            return self._tolerant(row)

    def cut(self, texts: Sequence[str]) -> Piece:
        """Many texts as parts."""
        count, width = len(texts), self._parts
        parts = pc.split_pattern(pa.array([_PART.join(texts)] if texts else [], pa.string()), _PART).values
        rows = [pa.arange(part, count * width, width) for part in range(width)]  # type: ignore[attr-defined] # newer than its stubs
        values = parts.take(pa.concat_arrays(rows))
        values = pc.if_else(pc.equal(values, _NULL_MARK), _NO_TEXT, values)
        return Piece(cast("Array", values), count)

    def columns(self, pieces: Sequence[Piece]) -> dict[str, Array]:
        """The columns of many pieces: scalars other than booleans and numbers, timestamps too, are text."""
        return {leaf.name: _column(leaf, pieces) for leaf in self._leaves}


class _Code:
    """Python for one row; `text` is the expression for a text, of which `{get}` lacks the closing bracket, `json` the
    one for the JSON of `v`."""

    def __init__(self, text: str, json: str) -> None:
        self._text = text
        self._json = json
        self.parts = 0
        self.leaves: list[_Leaf] = []
        self._expressions: list[str] = []
        self._names: dict[str, Any] = {
            "PART": _PART,
            "ELEMENT": _ELEMENT,
            "NULL": _NULL,
            "EMPTY": _EMPTY,
            "BOOLEANS": {None: _NULL, True: "1", False: "0"},
            "dumps": orjson.dumps,
            "json_text": json_text,
            "misfit": _misfit,
        }

    def add(self, column: Column) -> None:
        """Add a column of the table."""
        leaf, expression = self._leaf(column, "row")
        self.leaves.append(leaf)
        self._expressions.append(expression)

    def _leaf(self, column: Column, holder: str) -> tuple[_Leaf, str]:
        """A column, and the expression for its parts; `holder` is the variable that it is read from."""
        name, kind, part = column.name, column.kind, self.parts
        self.parts += 1
        get = f"{holder}.get({name!r}"
        if kind != "object" or not column.children:
            return _Leaf(name, "json" if kind == "object" else kind, part), self._value(kind, get)
        # An object that is not there is one constant, whatever its size.
        inner = [self._leaf(child, f"o{part}") for child in column.children]
        self._names[f"NULLS{part}"] = _PART.join([_NULL] * (self.parts - part))
        expressions = "".join(f"{expression}, " for _, expression in inner)
        expression = f"NULLS{part} if (o{part} := {get})) is None else PART.join(('', {expressions}))"
        return _Leaf(name, "object", part, tuple(leaf for leaf, _ in inner)), expression

    def _value(self, kind: str, get: str) -> str:
        if kind in {"string", "timestamp"}:
            return self._text.format(get=get)
        if kind == "boolean":
            return f"BOOLEANS[{get})]"
        start = f"NULL if (v := {get})) is None else "
        if kind in _BITS:
            limit = 2 ** (_BITS[kind] - 1)
            return f"{start}f'{{v:d}}' if v.__class__ is int and {-limit} <= v < {limit} else misfit()"
        if kind == "float":
            return f"{start}repr(float(v)) if v.__class__ is float or v.__class__ is int else misfit()"
        if kind == "array":
            return f"{start}misfit() if v.__class__ is not list else ELEMENT.join(v) if v else EMPTY"
        return f"{start}{self._json}.decode()"

    def compile(self) -> Callable[[dict[str, Any]], str]:
        """The function."""
        source = [
            "def join(row):",
            "text = PART.join((",
            *(f"{expression}," for expression in self._expressions),
            "))",
            f"if text.count(PART) != {self.parts - 1}: misfit()",
            "if not text.isascii(): text.encode()",  # a lone surrogate is no UTF-8
            "return text",
        ]
        names = dict(self._names)
        exec(compile("\n ".join(source), "<join>", "exec"), names)  # noqa: S102 - our own code, names quoted by repr
        join: Callable[[dict[str, Any]], str] = names["join"]
        return join


def _misfit() -> NoReturn:
    raise Misfit


def _column(leaf: _Leaf, pieces: Sequence[Piece]) -> Array:
    slices: list[Array] = [values.slice(leaf.part * rows, rows) for values, rows in pieces]
    part = slices[0] if len(slices) == 1 else pa.concat_arrays(slices)
    if leaf.kind == "object":
        fields = [_column(field, pieces) for field in leaf.fields]
        return pa.StructArray.from_arrays(fields, [field.name for field in leaf.fields], mask=part.is_null())
    if leaf.kind == "array":
        return _lists(cast("pa.StringArray", part))
    if leaf.kind == "boolean":
        return cast("Array", pc.equal(part, _TRUE))
    if leaf.kind in _BITS:
        return part.cast({64: pa.int64(), 32: pa.int32(), 16: pa.int16()}[_BITS[leaf.kind]])
    return part.cast(pa.float64()) if leaf.kind == "float" else part


def _lists(texts: pa.StringArray) -> Array:
    if texts.null_count == len(texts):  # as most are in a small batch
        return pa.nulls(len(texts), _TEXTS)
    lists = pc.split_pattern(texts, _ELEMENT)
    empty = pc.equal(texts, _EMPTY_MARK)
    if empty.true_count:
        lists = pc.if_else(empty, pa.scalar([], lists.type), lists)
    return lists.cast(_TEXTS)
