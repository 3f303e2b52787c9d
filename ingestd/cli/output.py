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
GAP = 3
"""Columns between two columns."""
WIDEST_ELSEWHERE = 200
"""More columns than fit into this are printed below each other, in a file or a pipe."""
WIDTH_ELSEWHERE = 100_000
"""Of a table in a file or a pipe: nothing is cut."""


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool, whole: Sequence[str] = ()
) -> int:
    """Rows as JSON lines (one object each) or as a table; how many there were.

    Where a terminal is too narrow, long cells are cut, but never those of the columns in `whole`.
    """
    count = 0
    if as_json:
        for row in rows:
            print(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str))
            count += 1
        return count
    shown = list(islice(rows, MOST_ROWS + 1))
    _print_table(columns, shown[:MOST_ROWS], whole)
    if len(shown) > MOST_ROWS:
        note(f"only the first {MOST_ROWS} rows are shown; --json prints all")
    return min(len(shown), MOST_ROWS)


def _print_table(columns: Sequence[str], rows: list[Sequence[Any]], whole: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if on_terminal else WIDTH_ELSEWHERE)
    if len(columns) * (NARROWEST + GAP) > (console.width if on_terminal else WIDEST_ELSEWHERE) and rows:
        _print_records(columns, rows)
        return
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(column), *(len(row[index]) for row in cells), 1) for index, column in enumerate(columns)]
    fitted = _fitted(widths, [column in whole for column in columns], console.width - GAP * len(columns))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, width in zip(columns, fitted, strict=True):
        table.add_column(Text(column), overflow="ellipsis", no_wrap=True, width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _fitted(widths: list[int], whole: list[bool], room: int) -> list[int]:
    """The widths with the longest cut, evenly, until all fit into the room; never below the narrowest."""
    cap = max(widths)
    while cap > NARROWEST and sum(_cut(widths, whole, cap)) > room:
        cap -= 1
    return _cut(widths, whole, cap)


def _cut(widths: list[int], whole: list[bool], cap: int) -> list[int]:
    return [width if kept else min(width, cap) for width, kept in zip(widths, whole, strict=True)]


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


def note(text: object) -> None:
    """A line for people, on stderr."""
    print(plain(text), file=sys.stderr)


def plain(text: object) -> str:
    """Without control characters other than line ends: what files and events say must not steer a terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in str(text))
