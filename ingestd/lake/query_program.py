"""The process that runs one scheduled query: reads the order from stdin, writes the rows to stdout, ends.

It is a process of its own because a query is somebody else's program over much data: its memory, its crash and its
time are not the daemon's. It sees the lake's folder and nothing else, has no secret, and ends when stdin does.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from ingestd.errors import Permanent
from ingestd.lake import dialect
from ingestd.lake.query import check, query
from ingestd.model import Column
from ingestd.schemas.registry import Registry

EXIT_FAILED: Final = 3
"""The query cannot run, or failed: stderr says why."""
_MOST_DIGITS: Final = 300
"""Of what is a float."""
ADDRESS_SPACE_BYTES: Final = 4 << 30
"""DuckDB keeps to a limit of its own; this one holds for the whole process."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A query to run."""

    sql: str
    lake: str
    now: float
    """The time that it takes for the present."""
    schema_paths: tuple[str, ...] = ()
    builtin_schemas: bool = True
    max_rows: int = 100_000
    max_bytes: int = 64 << 20
    """Of rows as JSON."""


def main() -> None:
    """Run the order on stdin."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    os.nice(10)
    with suppress(OSError):  # where memory runs out, the query is to end, not the daemon
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    try:
        for piece in compressed(results(order)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except (Permanent, MemoryError) as error:
        print(str(error) or "out of memory", file=sys.stderr)  # noqa: T201 - the answer
        os._exit(EXIT_FAILED)
    os._exit(0)  # without waiting for threads


def results(order: Order) -> Iterator[bytes]:
    """Rows as records of a result; when there are too many, the first of them and an error that says so."""
    registry = Registry.load([Path(path) for path in order.schema_paths], builtin=order.builtin_schemas)
    translated, columns = _translated(order.sql, registry, order.now)
    answer = query(translated.sql, order.lake, columns, whole=translated.tables)
    texts = [index for index, kind in enumerate(answer.types) if kind == "JSON"]
    size = 0
    for number, row in enumerate(answer.rows):
        values = list(row)
        for index in texts:
            values[index] = _parsed(values[index])
        record = dict(zip(answer.columns, values, strict=True))
        encoded = _encoded({"result": record})
        size += len(encoded)
        if number == order.max_rows or size > order.max_bytes:
            most = f"{order.max_rows:,} rows or {order.max_bytes:,} bytes"
            text = f"the query found more than {most}: only the first {number:,} rows were looked at; narrow it"
            yield orjson.dumps({"error": {"type": "TooManyRows", "text": text}})
            return
        yield encoded


def why_not(sql: str, registry: Registry) -> str:
    """Why a query could not run over a lake of these schemas; empty if it could."""
    try:
        translated, columns = _translated(sql, registry, 0.0)
        check(translated.sql, "/nonexistent/lake", columns, whole=translated.tables)
    except Permanent as error:
        return str(error).partition("\n")[0]
    return ""


def _translated(sql: str, registry: Registry, now: float) -> tuple[dialect.Translated, dict[str, tuple[Column, ...]]]:
    """The query for the lake, and the columns of the log types that it reads."""
    names = {dialect.plain(name): name for name in registry.names}
    translated = dialect.translate(sql, names, now)
    return translated, {name: registry.columns(name) for name in translated.tables if name in registry.names}


def compressed(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines as a gzip stream; nothing when there is none."""
    packer = zlib.compressobj(6, wbits=31)
    some = False
    for line in lines:
        some = True
        if piece := packer.compress(line + b"\n"):
            yield piece
    if some:
        yield packer.flush()


def _encoded(record: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # an integer of more than 64 bits, which events have as a float
        text = json.dumps(record, default=_plain)
        return orjson.dumps(json.loads(text, parse_int=_fitting, parse_constant=lambda _name: None))


def _fitting(digits: str) -> int | float | str:
    whole = int(digits)
    if -(1 << 63) <= whole < 1 << 64:
        return whole
    return float(whole) if len(digits) <= _MOST_DIGITS else digits


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    """Times as events have them; what JSON has no word for as text."""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f000")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
