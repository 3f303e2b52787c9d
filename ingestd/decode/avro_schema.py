"""The schema in an Avro file: may it be used, and the reader of its values."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

_MOST_DEPTH: Final = 50
_MOST_NODES: Final = 20_000
_NAMED: Final = ("record", "error", "enum", "fixed")

_Schema = Any


Read = Callable[[io.BytesIO, str], Any]
"""`read(source, errors)`: the next value; `errors` says what becomes of texts that are not UTF-8."""


def reader(text: bytes) -> Read:
    """The function that reads values of the schema. Raises ValueError for a schema that cannot be used."""
    from fastavro import _read_py, parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException

    _tolerate()
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    shape = _Shape()
    shape.least_bytes(schema, 0)
    try:
        parsed = parse_schema(schema)
    except (SchemaParseException, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if shape.recursive:  # values may nest as deep as they like, and only this reader minds
        return lambda source, errors: _read_py.schemaless_reader(source, parsed, None, handle_unicode_errors=errors)
    return lambda source, errors: schemaless_reader(source, parsed, None, handle_unicode_errors=errors)


class _Shape:
    """Looks through a schema for what would let a few bytes become anything."""

    def __init__(self) -> None:
        self.recursive = False
        self._nodes = 0
        self._open: set[str] = set()
        self._least: dict[str, int] = {}

    def least_bytes(self, schema: _Schema, depth: int) -> int:
        """How few bytes a value may have. Raises ValueError for what is refused."""
        self._nodes += 1
        if depth > _MOST_DEPTH or self._nodes > _MOST_NODES:
            raise ValueError(f"more than {_MOST_DEPTH} levels or {_MOST_NODES} types")
        if isinstance(schema, str):
            return self._named(schema)
        if isinstance(schema, list):
            for branch in schema:
                self.least_bytes(branch, depth + 1)
            return 1
        if not isinstance(schema, dict):
            raise ValueError(f"{type(schema).__name__} in the place of a type")  # noqa: TRY004 - of the file, not the caller
        kind = schema.get("type")
        if kind == "array" and self.least_bytes(schema.get("items"), depth + 1) == 0:
            raise ValueError("an array whose items take no bytes could be of any length")
        if kind == "map":
            self.least_bytes(schema.get("values"), depth + 1)
        if kind in ("array", "map"):
            return 1
        if kind in _NAMED:
            return self._definition(schema, str(kind), depth)
        return self.least_bytes(kind, depth + 1)

    def _named(self, name: str) -> int:
        if name in self._open:
            self.recursive = True
            return 1
        return self._least.get(name, 0 if name == "null" else {"float": 4, "double": 8}.get(name, 1))

    def _definition(self, schema: dict[str, Any], kind: str, depth: int) -> int:
        name = str(schema.get("name", ""))
        space = schema.get("namespace")
        names = {name, name.rpartition(".")[2], f"{space}.{name}"}
        if kind == "fixed":
            least = schema.get("size") if isinstance(schema.get("size"), int) else 0
        elif kind == "enum":
            least = 1
        else:
            self._open |= names
            fields = schema.get("fields")
            if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields):
                raise ValueError(f"the record {name!r} has no list of fields")
            least = sum(self.least_bytes(field.get("type"), depth + 1) for field in fields)
            self._open -= names
        self._least |= dict.fromkeys(names, least or 0)
        return least or 0


# --- logical types ------------------------------------------------------------------------------------------


@cache
def _tolerate() -> None:
    """Have values that no date, time or identifier is made of stay what they are: they must not cost their block."""
    from fastavro.read import LOGICAL_READERS

    for name, read in LOGICAL_READERS.items():
        LOGICAL_READERS[name] = _tolerant(read)


def _tolerant(read: Callable[..., Any]) -> Callable[..., Any]:
    def tolerant(data: Any, *rest: Any) -> Any:
        try:
            return read(data, *rest)
        except (ValueError, ArithmeticError):
            return data

    return tolerant
