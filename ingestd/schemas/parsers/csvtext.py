"""csv: lines of cells between one-character delimiters, quoted where a cell holds the delimiter."""

from __future__ import annotations

import csv
from collections.abc import Callable

# The stdlib refuses cells beyond 128 KB; how long a record may be is decided where records are framed.
csv.field_size_limit(1 << 28)


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one row. Quotes that do not close take the rest of the row, as lenient readers do."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter), [""])
    except csv.Error:
        return line.split(delimiter)


def cutter(delimiter: str, width: int, *, exact: bool) -> Callable[[str], list[str] | None]:
    """A function from a line to `width` cells: short rows are padded with `""`, cells beyond are ignored.
    With `exact` a row of another width is None."""

    def cut(line: str) -> list[str] | None:
        cells = line.split(delimiter) if '"' not in line else cells_of(line, delimiter)
        found = len(cells)
        if found != width:
            if exact:
                return None
            cells = cells[:width] if found > width else cells + [""] * (width - found)
        return cells

    return cut
