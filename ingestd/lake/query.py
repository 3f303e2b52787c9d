"""SQL over the lake, by DuckDB: one view per table, read-only, and confined to the lake's folder.

A log type's table answers to its name, quoted (`"AWS.CloudTrail"`), and to `AWS_CloudTrail`. `events` has the
standard `p_` fields of all log types. A table without files has its columns and no rows. Views join files by column
name, so files from before a schema grew have nulls in the new columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from ingestd.errors import Permanent
from ingestd.lake import layout
from ingestd.lake.tables import ALERT_ID, ERROR_COLUMNS, MATCH_COLUMNS, REJECT_COLUMNS
from ingestd.model import Column

MEMORY_LIMIT = "1GB"
ROWS_AT_ONCE = 10_000

_STANDARD = tuple(
    Column(name=name, kind="timestamp" if name.endswith("_time") else "string")
    for name in ("p_log_type", "p_row_id", "p_event_time", "p_parse_time", "p_source_id", "p_source_label")
)
_ALERT = Column(name=ALERT_ID, kind="string")
_TABLES = {
    "rule_matches": (*MATCH_COLUMNS, _ALERT),
    "rule_errors": (*ERROR_COLUMNS, _ALERT),
    "rejects": REJECT_COLUMNS,
}
_READS_ONLY = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
_SQL_TYPES = {
    "string": "VARCHAR",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "smallint": "SMALLINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
    "json": "VARCHAR",
}


class Answer(msgspec.Struct, frozen=True):
    """`rows` comes in bounded memory and can be read once."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]
    types: list[str]
    """Of the columns, as DuckDB names them."""


def query(
    sql: str,
    lake_url: str | Path,
    log_types: Mapping[str, tuple[Column, ...]] | None = None,
    *,
    whole: Iterable[str] | None = None,
) -> Answer:
    """Run one SELECT over the lake in `lake_url`, a folder.

    `log_types` names those that exist, with or without files yet, and their columns. With `whole`, there are the
    tables that it names: each has every column of its log type, though no file may have it yet, and JSON columns as
    such, not as text. Raises `Permanent` (reason `query_failed`) with what DuckDB says.
    """
    views = _Views(Path(lake_url).absolute(), log_types or {})
    with _explained(views):
        found = _bound(sql, views, whole)
        reader = found.to_arrow_reader(ROWS_AT_ONCE)
    return Answer(list(reader.schema.names), _rows(reader, views), [str(kind) for kind in found.types])


def check(
    sql: str,
    lake_url: str | Path,
    log_types: Mapping[str, tuple[Column, ...]] | None = None,
    *,
    whole: Iterable[str] | None = None,
) -> None:
    """As `query`, but nothing is run: whether there is all that the SELECT names, and of a type that it can use."""
    views = _Views(Path(lake_url).absolute(), log_types or {})
    with _explained(views):
        _bound(sql, views, whole)


def _bound(sql: str, views: _Views, whole: Iterable[str] | None) -> duckdb.DuckDBPyRelation:
    """The SELECT over its tables, before it is run."""
    connection = _connect(views.root)
    _refuse_writing(sql)
    for statement in views.needed(sql if whole is None else " ".join(whole)):
        connection.execute(statement)
    for name in whole or ():
        if wholly := views.whole(name, dict(_described(connection, name))):
            connection.execute(wholly)
    connection.execute("SET lock_configuration=true")
    return connection.sql(sql)


class _Views:
    """The statements that make each table."""

    def __init__(self, root: Path, log_types: Mapping[str, tuple[Column, ...]]) -> None:
        self.root = root
        self._columns = {name: columns or _STANDARD for name, columns in log_types.items()}
        self._folders = {name: layout.log_type_folder(name) for name in log_types}
        for entry in sorted(root.glob("events/p_log_type=*")):
            name = layout.log_type_of(entry.name)
            self._folders[name] = entry.name
            self._columns.setdefault(name, _STANDARD)

    @property
    def names(self) -> list[str]:
        """All tables, as one would write them."""
        return [*(_quoted(name) for name in sorted(self._columns)), "events", *_TABLES]

    def needed(self, sql: str) -> Iterator[str]:
        """Statements for the tables whose names occur in `sql`: not for all, as each reads its files' footers."""
        text = sql.lower().replace('""', '"')
        with_events = "events" in text
        made = []
        for name in sorted(self._columns):
            if with_events or name.lower() in text or _plain(name).lower() in text:
                made.append(name)
                yield self._statement(name, f"events/{self._folders[name]}", self._columns[name])
                if _plain(name) != name:
                    yield f"CREATE OR REPLACE VIEW {_quoted(_plain(name))} AS FROM {_quoted(name)}"
        if with_events:
            yield self._events(made)
        for name, columns in _TABLES.items():
            if name in text:
                yield self._statement(name, name, columns)

    def whole(self, name: str, found: Mapping[str, str]) -> str:
        """The table once more, with every column of its log type and JSON as JSON; `found` are the columns that it
        has now, and their types. Empty where that is what it is."""
        columns = self._columns.get(name, _TABLES.get(name, ()))
        has = {column.lower() for column in found}
        json = [column.name for column in columns if _is_json(column) and found.get(column.name) == "VARCHAR"]
        missing = [column for column in columns if column.name.lower() not in has]
        if not json and not missing:
            return ""
        casts = ", ".join(f"TRY_CAST({_quoted(one)} AS JSON) AS {_quoted(one)}" for one in json)
        nulls = "".join(f", CAST(NULL AS {_sql_type(one)}) AS {_quoted(one.name)}" for one in missing)
        raw = _quoted(f"{name} as stored")
        kind = "VIEW" if self._has_files(name) else "TABLE"
        return (
            f"ALTER {kind} {_quoted(name)} RENAME TO {raw}; CREATE VIEW {_quoted(name)} AS SELECT *"  # noqa: S608 - quoted
            f"{f' REPLACE ({casts})' if casts else ''}{nulls} FROM {raw}"
        )

    def _has_files(self, name: str) -> bool:
        folder = f"events/{self._folders[name]}" if name in self._folders else name
        return next((self.root / folder).glob("**/*.parquet"), None) is not None

    def _statement(self, name: str, folder: str, columns: Iterable[Column]) -> str:
        path = self.root / folder
        if next(path.glob("**/*.parquet"), None) is None:
            shown = ", ".join(f"{_quoted(column.name)} {_sql_type(column)}" for column in columns)
            return f"CREATE OR REPLACE TABLE {_quoted(name)} ({shown}, p_event_date DATE)"
        pattern = f"{_glob_of(path)}/**/*.parquet"
        return (
            f"CREATE OR REPLACE VIEW {_quoted(name)} AS FROM read_parquet('{pattern}', union_by_name=true,"
            " hive_partitioning=true, hive_types={'p_log_type': VARCHAR, 'p_event_date': DATE})"
        )

    def _events(self, names: Iterable[str]) -> str:
        standard = ", ".join(f"{_quoted(column.name)} {_sql_type(column)}" for column in _STANDARD)
        if not names:
            return f"CREATE OR REPLACE TABLE events ({standard}, p_event_date DATE)"
        parts = (f"SELECT COLUMNS('^p_.*') FROM {_quoted(name)}" for name in names)  # noqa: S608 - quoted
        return f"CREATE OR REPLACE VIEW events AS {' UNION ALL BY NAME '.join(parts)}"


def _connect(root: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that reaches no file but the lake's, no network, and no extension."""
    connection = duckdb.connect(":memory:")
    for setting in (
        f"memory_limit='{MEMORY_LIMIT}'",
        "temp_directory=''",
        "TimeZone='UTC'",
        f"allowed_directories=['{_text(root)}', '{_glob_of(root)}']",
        "enable_external_access=false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _described(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    """Columns of a table, and their types."""
    return [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {_quoted(name)}").fetchall()]


def _refuse_writing(sql: str) -> None:
    """The lake's folder may be read, so DuckDB would also write into it."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in _READS_ONLY:
        raise Permanent("one SELECT is expected: the lake is read-only", reason="query_failed")


def _rows(reader: pa.RecordBatchReader, views: _Views) -> Iterator[tuple[Any, ...]]:
    with _explained(views):
        for batch in reader:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


@contextmanager
def _explained(views: _Views) -> Iterator[None]:
    try:
        yield
    except duckdb.CatalogException as error:
        known = ", ".join(views.names)
        raise Permanent(f"{error}\nTables: {known}", reason="query_failed") from error
    except (duckdb.Error, pa.ArrowException) as error:
        raise Permanent(str(error), reason="query_failed") from error


def _glob_of(path: Path) -> str:
    """A pattern that means just this path, inside an SQL literal."""
    return re.sub(r"([*?\[])", r"[\1]", _text(path))


def _text(path: Path) -> str:
    return str(path).replace("'", "''")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _is_json(column: Column) -> bool:
    return column.kind == "json" or (column.kind == "object" and not column.children)


def _sql_type(column: Column) -> str:
    if column.kind == "array":
        return f"{_sql_type(column.children[0])}[]"
    if column.kind == "object" and column.children:
        return f"STRUCT({', '.join(f'{_quoted(child.name)} {_sql_type(child)}' for child in column.children)})"
    return _SQL_TYPES["json" if column.kind == "object" else column.kind]
