"""Reading a table's file: CSV with a header line, or one JSON object to a line; plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from ingestd.errors import Permanent

LONGEST_ROW: Final = 1 << 20
"""Characters of a row; longer lines are no table."""

Row = dict[str, Any]


def read(file: Path, kinds: Mapping[str, str]) -> Iterator[Row | None]:
    """The rows of a file, None in the place of one that cannot be read. `kinds` says, by field, of which kind of a
    schema its values are: what CSV holds is text otherwise. Raises `Permanent` when the file is no table, or ends
    before its end, saying where."""
    name = file.name.removesuffix(".gz")
    reader = READERS.get(name[name.rfind(".") :])
    if reader is None:
        raise Permanent(f"{file}: a table is {', '.join((*READERS, '.mmdb'))}, or the first two with .gz")
    line = 0
    try:
        with file.open("rb") as stored:
            opened = gzip.GzipFile(fileobj=stored) if file.name.endswith(".gz") else stored
            for at, row in reader(io.BufferedReader(opened, 1 << 18), kinds):
                line = at
                yield row
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError, ValueError) as error:
        raise Permanent(f"{file}: cannot be read after line {line}: {error}") from error


def _csv(opened: BinaryIO, kinds: Mapping[str, str]) -> Iterator[tuple[int, Row | None]]:
    csv.field_size_limit(LONGEST_ROW)
    rows = csv.reader(_bounded(io.TextIOWrapper(opened, "utf-8-sig", newline="")), strict=True)
    names = next(rows, None)
    if names is None:
        raise ValueError("there is no header line")
    casts = [(name, _CASTS.get(kinds.get(name, ""))) for name in names]
    for values in rows:
        yield rows.line_num, _row(casts, values) if values else None


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LONGEST_ROW):
        if len(line) >= LONGEST_ROW:
            raise ValueError(f"a line has more than {LONGEST_ROW} characters")
        yield line


def _row(casts: list[tuple[str, Callable[[str], Any] | None]], values: list[str]) -> Row | None:
    if len(values) != len(casts):
        return None
    try:
        return {
            name: value if cast is None else cast(value) if value else None
            for (name, cast), value in zip(casts, values, strict=True)
        }
    except ValueError:
        return None


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(text)
    return text.lower() == "true"


_CASTS: Final[dict[str, Callable[[str], Any]]] = {
    "bigint": int, "int": int, "smallint": int, "float": float, "boolean": _truth, "json": orjson.loads,
}  # fmt: skip


def _jsonl(opened: BinaryIO, _kinds: Mapping[str, str]) -> Iterator[tuple[int, Row | None]]:
    number = 0
    while line := opened.readline(LONGEST_ROW):
        number += 1
        if len(line) >= LONGEST_ROW:
            raise ValueError(f"a line has more than {LONGEST_ROW} bytes")
        try:
            row = orjson.loads(line) if not line.isspace() else None
        except orjson.JSONDecodeError:
            row = None
        yield number, row if isinstance(row, dict) else None


READERS: Final = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
