"""Results on stdout: JSON lines for scripts, a table for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

NARROWEST = 8
MOST_ROWS = 1_000
"""In a table, which has to be in memory to be laid out."""
WIDEST_WITHOUT_TERMINAL = 200


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool) -> int:
    """Rows as JSON lines (one object each) or as a table; how many there were."""
    count = 0
    if as_json:
        for row in rows:
            print(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str))
            count += 1
        return count
    shown = list(islice(rows, MOST_ROWS + 1))
    _print_table(columns, shown[:MOST_ROWS])
    if len(shown) > MOST_ROWS:
        note(f"only the first {MOST_ROWS} rows are shown; --json prints all")
    return min(len(shown), MOST_ROWS)


def _print_table(columns: Sequence[str], rows: list[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDEST_WITHOUT_TERMINAL)
    if len(columns) * (NARROWEST + 2) > console.width and rows:
        _print_records(columns, rows)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="ellipsis", no_wrap=True, min_width=min(NARROWEST, len(column)))
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)


def _print_records(columns: Sequence[str], rows: list[Sequence[Any]]) -> None:
    """One line per value: more columns than fit beside each other. Empty ones are left out."""
    width = max(len(column) for column in columns)
    for number, row in enumerate(rows, start=1):
        print(f"--- {number}")
        for column, value in zip(columns, row, strict=True):
            if value is not None:
                print(f"{column:<{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    """A value as one line without control characters: what events say must not steer a terminal."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return "".join(letter if letter.isprintable() else " " for letter in text[:2_000])


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)
