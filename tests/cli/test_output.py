"""How results are printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ingestd.cli import output


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts each row is one JSON object on one line; values JSON does not know are text."""
    rows = [(1, "a\nb", None), (2, "ü", datetime(2024, 1, 1, tzinfo=UTC))]
    assert output.print_rows(("n", "t", "x"), iter(rows), as_json=True) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"n": 1, "t": "a\nb", "x": None}
    assert json.loads(second) == {"n": 2, "t": "ü", "x": "2024-01-01 00:00:00+00:00"}


def test_tables_cannot_be_steered(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, markup and line breaks in values are neither obeyed nor break the table."""
    rows = [("\x1b[31mred\x1b[0m", "[bold]b[/bold]", "a\nb")]
    output.print_rows(("one", "two", "three"), rows, as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]b[/bold]" in out
    assert "a b" in out
    assert len(out.splitlines()) == 3


def test_many_columns_are_printed_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A row that is too wide for a table is one line per value, without the empty ones."""
    columns = [f"column_{number}" for number in range(60)]
    output.print_rows(columns, [["x", None, {"a": 1}, *["y"] * 57]], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["--- 1", "column_0   x", 'column_2   {"a": 1}']
    assert len(lines) == 60


def test_endless_tables_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A table shows the first rows, and says so, without reading on."""

    def endless() -> object:
        number = 0
        while True:
            yield (number,)
            number += 1

    assert output.print_rows(("n",), endless(), as_json=False) == output.MOST_ROWS  # type: ignore[arg-type]
    assert "--json prints all" in capsys.readouterr().err


def test_long_cells_are_cut_where_the_terminal_is_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal a table keeps to its width and cuts the longest cells, but never an id."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    rows = [("f" * 32, "LOW", "long title " * 20, "another " * 5)]
    output.print_rows(("id", "severity", "title", "more"), rows, as_json=False, whole=("id",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "f" * 32 in lines[2]
    assert "LOW" in lines[2]
    assert "long title" in lines[2]
