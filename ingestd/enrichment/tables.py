"""All lookup tables of a generation of code, and what they add to an event: `p_enrichment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ingestd.enrichment.table import KeyedTable, Table, load
from ingestd.errors import Permanent

_MOST_SEEN: Final = 10_000
"""Values of one table whose rows are remembered; logs repeat the same few."""
_MOST_ELEMENTS: Final = 1_000
"""Of a list in an event that are looked up."""
SUFFIXES: Final = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".mmdb")


class TableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A lookup table as its item describes it."""

    name: str
    file: str = ""
    """Its data beside the item; empty when it has to be looked for."""
    object_name: str = ""
    """File name of the data where it is published."""
    key: str
    selectors: dict[str, tuple[str, ...]]
    """Log type → where in its events the keys are: a field's name, or `$.a.b`."""
    schema: str = ""
    """Log type that describes the rows."""


class _Use(NamedTuple):
    name: str
    selector: str
    path: tuple[str, ...]
    find: Callable[[Any], dict[str, Any] | None]


class _Seen:
    """A table that remembers what it was asked lately. Rows are shared between events, which nobody changes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: dict[str, dict[str, Any] | None] = {}

    def find(self, value: Any) -> dict[str, Any] | None:
        """The row for a scalar of an event, with `p_match`, the value that found it."""
        if value.__class__ is not str:
            if value.__class__ is not int and value.__class__ is not float:
                return None
            value = str(value)
        rows = self._rows
        if value in rows:
            return rows[value]
        row = self._table.find(value) if value else None
        if row is not None:
            row["p_match"] = value
        if len(rows) >= _MOST_SEEN:
            rows.clear()
        rows[value] = row
        return row


class Tables:
    """See the module."""

    def __init__(self) -> None:
        self._tables: dict[str, _Seen] = {}
        self._uses: dict[str, list[_Use]] = {}
        self.left_out: dict[str, str] = {}
        """Table → why it is not there."""
        self.rows = 0

    @classmethod
    def load(
        cls,
        specs: Sequence[TableSpec],
        folders: Sequence[Path],
        max_bytes: int,
        kinds_of: Callable[[str], Mapping[str, str]] = lambda _schema: {},
    ) -> Tables:
        """Tables of which there is data: beside the item, or in one of the folders under the name that it has where
        it is published, or under the table's. A table that cannot be read is left out, the others work.

        `kinds_of(schema)` says of which kind the fields of a schema are.
        """
        tables = cls()
        for spec in specs:
            file = data_file(spec, folders)
            if file is None:
                wanted = spec.object_name or f"{spec.name}.csv"
                tables.left_out[spec.name] = f"no data: put {wanted} into a folder of enrichment.paths"
                continue
            try:
                table = load(file, spec.key, kinds_of(spec.schema), max_bytes)
            except Permanent as error:
                tables.left_out[spec.name] = str(error)
                continue
            if isinstance(table, KeyedTable):
                max_bytes -= table.size
                tables.rows += len(table)
            tables._add(spec, table)
        return tables

    def _add(self, spec: TableSpec, table: Table) -> None:
        seen = self._tables[spec.name] = _Seen(table)
        for log_type, selectors in spec.selectors.items():
            for selector in selectors:
                shown = selector.removeprefix("$.")
                path = tuple(shown.split(".")) if selector.startswith("$.") else (selector,)
                self._uses.setdefault(log_type, []).append(_Use(spec.name, shown, path, seen.find))

    def __len__(self) -> int:
        return len(self._tables)

    def why_left_out(self) -> str:
        """The tables that are not there, for a log line."""
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(self.left_out.items()))

    def enrich(self, event: dict[str, Any]) -> None:
        """Add `p_enrichment`: table → selector → the row, or for a list the rows of its elements."""
        uses = self._uses.get(event["p_log_type"])
        if uses is None:
            return
        enrichment: dict[str, dict[str, Any]] = {}
        for name, selector, path, find in uses:
            value: Any = event
            for step in path:
                value = value.get(step) if value.__class__ is dict else None
            if value is None:
                continue
            found: Any = None
            if value.__class__ is list:
                found = [row for item in value[:_MOST_ELEMENTS] if (row := find(item)) is not None]
            else:
                found = find(value)
            if found:
                enrichment.setdefault(name, {})[selector] = found
        if enrichment:
            event["p_enrichment"] = enrichment

    def lookup(self, table: str, key: Any) -> dict[str, Any] | None:
        """The row of a table. Raises KeyError when there is no such table."""
        return self._tables[table].find(key)


def data_file(spec: TableSpec, folders: Sequence[Path]) -> Path | None:
    """Where the data of a table lies; None if nowhere."""
    if spec.file:
        return Path(spec.file)
    names = [spec.object_name] if spec.object_name else []
    names += [spec.name + suffix for suffix in SUFFIXES]
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
