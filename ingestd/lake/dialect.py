"""Scheduled queries as they are written, for a warehouse, into the SQL of the lake.

The public format's queries are Snowflake's SQL, with names of tables and macros of their own: `userIdentity:arn` of
`panther_logs.public.aws_cloudtrail` where `p_occurs_since('1 day')`. What can be said here is translated; what cannot
(tables that only the warehouse has, templates) is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ingestd.errors import Permanent

_TEMPLATE = re.compile(r"\{%|\{\{|^[ \t]*--[ \t]*pragma:[ \t]*template", re.MULTILINE)
_MACRO = re.compile(r"(?i)\b(p_occurs_\w+)\s*\(([^()]*)\)")
_BARE_DURATION = re.compile(r"(?i)(?<![\w.'])(\d+)\s*([a-z]+)(?![\w'])")
_DURATION = re.compile(r"(?i)\s*(\d+)\s*(s|seconds?|m|minutes?|h|hours?|d|days?|w|weeks?)?\s*")
_LONGEST_SECS = 100 * 366 * 86_400
_UNIT_SECS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_KEPT = "kept as JSON"
_OF_ARRAYS = (
    exp.ArrayContains,
    exp.ArraySize,
    exp.ArrayIntersect,
    exp.ArrayOverlaps,
    exp.ArrayConcat,
    exp.ArrayToString,
)
"""What takes lists: a path into JSON is made one for it."""
_LOGS = "panther_logs"
_MATCHES = frozenset({"panther_rule_matches", "panther_signals", "panther_cloudsecurity_matches"})
_ERRORS = "panther_rule_errors"
_VIEWS = {"all_logs": "events", "all_rule_matches": "rule_matches", "all_rule_errors": "rule_errors"}


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """A query for the lake, and the tables that it reads, by the names that `query` knows."""

    sql: str
    tables: tuple[str, ...]


def refused(why: str) -> Permanent:
    """A query that cannot run here."""
    return Permanent(why, reason="query_failed")


def translate(sql: str, log_types: Mapping[str, str], now: float) -> Translated:
    """Translate one query. `log_types` maps names as tables have them (`aws_cloudtrail`) to log types; `now` is the
    time, in seconds since the epoch, that the query takes for the present. Raises `Permanent` with the reason."""
    if _TEMPLATE.search(sql):
        raise refused("it is a template; templates are filled in by the warehouse's vendor and do not run here")
    try:
        statements = [one for one in sqlglot.parse(_quoted_durations(sql), read="snowflake") if one is not None]
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            raise refused("one SELECT is expected")
        tree: exp.Expr = statements[0]
        tables = _name_tables(tree, log_types)
        for explode in list(tree.find_all(exp.Explode)):
            flatten(explode)
        tree = tree.transform(_Rewriter(now), copy=False)
        return Translated(sql=tree.sql(dialect="duckdb"), tables=tuple(sorted(tables)))
    except RecursionError as error:
        raise refused("it cannot be read as Snowflake's SQL: it is nested too deep") from error
    except SqlglotError as error:
        raise refused(f"it cannot be read as Snowflake's SQL: {_first_line(error)}") from error


def plain(name: str) -> str:
    """A log type as tables are named: `AWS.CloudTrail` is `aws_cloudtrail`."""
    return re.sub(r"\W", "_", name, flags=re.ASCII).lower()


def _quoted_durations(sql: str) -> str:
    """`p_occurs_since(1h, , p_parse_time)` is no SQL: durations become text, places left empty NULL."""

    def repair(macro: re.Match[str]) -> str:
        parts = [part.strip() for part in macro[2].split(",")]
        arguments = [part if "'" in part else _BARE_DURATION.sub(r"'\1 \2'", part) or "NULL" for part in parts]
        return f"{macro[1]}({', '.join(arguments)})"

    return _MACRO.sub(repair, sql)


def _name_tables(tree: exp.Expr, log_types: Mapping[str, str]) -> set[str]:
    """Give every table the name that it has in the lake; what they are."""
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    found = set()
    for table in list(tree.find_all(exp.Table)):
        if not table.name or (not table.db and table.name.lower() in own):
            continue
        name = _table_in_lake(table, log_types)
        found.add(name)
        alias = table.alias or table.name
        _rename_columns(table, alias)
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", None)
        table.set("catalog", None)
        table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
    return found


def _rename_columns(table: exp.Table, alias: str) -> None:
    """`panther_logs.public.t.column` becomes `t.column`."""
    root = table.root()
    for column in root.find_all(exp.Column):
        if column.args.get("db") is not None and column.table.lower() == table.name.lower():
            column.set("db", None)
            column.set("catalog", None)
            column.set("table", exp.to_identifier(alias))


def _table_in_lake(table: exp.Table, log_types: Mapping[str, str]) -> str:
    name = table.name.lower()
    database = (table.catalog or table.db).lower()
    shown = ".".join(part.name for part in table.parts)
    if database in _MATCHES:
        return "rule_matches"
    if database == _ERRORS:
        return "rule_errors"
    if database in ("panther_views", "") and (name in _VIEWS.values() or name in _VIEWS):
        return _VIEWS.get(name, name)
    if database in (_LOGS, "public", "") and name in log_types:
        return log_types[name]
    if database == "snowflake":
        raise refused(f"it reads {shown}: the warehouse's own accounts of itself are not in the lake")
    if database == "panther_lookups":
        raise refused(f"it reads {shown}: lookup tables are not in the lake")
    if database in (_LOGS, "public", ""):
        raise refused(f"it reads {shown}: no schema describes a log type of this name")
    raise refused(f"it reads {shown}: the lake has no such table")


_ELEMENTS = """
    SELECT each.element ->> '$' AS value, each.number - 1 AS index
    FROM (
        SELECT unnest(held.elements) AS element, generate_subscripts(held.elements, 1) AS number
        FROM (
            SELECT CASE WHEN json_type(given.text) = 'ARRAY' THEN from_json(given.text, '["JSON"]') END AS elements
            FROM (SELECT TRY_CAST(to_json(flattened) ->> '$' AS JSON) AS text) AS given
        ) AS held
    ) AS each
"""
"""Of an array, typed or JSON: each as text or as JSON's text, and where it stood."""


def flatten(explode: exp.Explode) -> None:
    """`LATERAL FLATTEN(input => array) AS f` and `TABLE(FLATTEN(array)) AS f`, in their place."""
    place = explode.parent
    if not isinstance(place, exp.Lateral | exp.TableFromRows):
        return
    arguments = [explode.this, *explode.expressions]
    named = {one.this.name.lower(): one.expression for one in arguments if isinstance(one, exp.Kwarg)}
    array = named.get("input", explode.this)
    if isinstance(array, exp.JSONExtract):
        array.meta[_KEPT] = True
    elements = sqlglot.parse_one(_ELEMENTS, read="duckdb")
    for column in list(elements.find_all(exp.Column)):
        if column.name == "flattened":
            column.replace(array.copy())
    for extract in elements.find_all(exp.JSONExtract, exp.JSONExtractScalar):
        extract.meta[_KEPT] = True
    alias = exp.TableAlias(this=exp.to_identifier(place.alias or "flattened"))
    lateral = exp.Lateral(this=exp.Subquery(this=elements), alias=alias)
    join = place.parent
    place.replace(lateral)
    if isinstance(join, exp.Join) and isinstance(named.get("outer"), exp.Boolean) and named["outer"].this:
        join.set("kind", None)
        join.set("side", "LEFT")
        join.set("on", exp.true())


class _Rewriter:
    """Turns one node of Snowflake's tree into what DuckDB understands."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._rewrites: dict[str, Callable[[exp.Anonymous], exp.Expr]] = {
            "P_OCCURS_SINCE": self._since,
            "P_OCCURS_BETWEEN": self._between,
            "P_OCCURS_AFTER": lambda call: self._compare(call, exp.GTE),
            "P_OCCURS_BEFORE": lambda call: self._compare(call, exp.LT),
            "P_OCCURS_ON": self._on,
            "P_CURRENT_TIMESTAMP": lambda _: self._time(self._now),
        }

    def __call__(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Anonymous) and node.name.upper() in self._rewrites:
            return self._rewrites[node.name.upper()](node)
        if isinstance(node, exp.CurrentTimestamp):
            return self._time(self._now)
        if isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.VARIANT:
            inner: exp.Expr = node.this
            return inner
        if isinstance(node, _OF_ARRAYS):
            for argument in list(node.iter_expressions()):
                if isinstance(argument, exp.JSONExtract):
                    argument.replace(exp.cast(argument.copy(), "VARCHAR[]", dialect="duckdb"))
        if (
            isinstance(node, exp.JSONExtract)
            and not node.meta.get(_KEPT)
            and type(node.parent) is not exp.JSONExtract
        ):
            return exp.JSONExtractScalar(this=node.this, expression=node.expression, variant_extract=True)
        return node

    def _since(self, call: exp.Anonymous) -> exp.Expr:
        column, duration = _column(call, 1), _argument(call, 0)
        return exp.GTE(this=column, expression=self._time(self._now - _seconds(duration)))

    def _between(self, call: exp.Anonymous) -> exp.Expr:
        column = _column(call, 2)
        return exp.Between(this=column, low=_moment(_argument(call, 0)), high=_moment(_argument(call, 1)))

    def _compare(self, call: exp.Anonymous, kind: type[exp.Binary]) -> exp.Expr:
        return kind(this=_column(call, 1), expression=_moment(_argument(call, 0)))

    def _on(self, call: exp.Anonymous) -> exp.Expr:
        day = exp.cast(_argument(call, 0).copy(), exp.DataType.Type.DATE)
        return exp.EQ(this=exp.cast(_column(call, 1), exp.DataType.Type.DATE), expression=day)

    def _time(self, moment: float) -> exp.Expr:
        text = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        return exp.cast(exp.Literal.string(text), exp.DataType.Type.TIMESTAMPTZ)


def _argument(call: exp.Anonymous, index: int) -> exp.Expr:
    given = call.expressions
    if index >= len(given) or isinstance(given[index], exp.Null):
        raise refused(f"{call.name} needs more arguments")
    argument: exp.Expr = given[index]
    return argument


def _column(call: exp.Anonymous, at: int) -> exp.Expr:
    """The column that a macro looks at: `(…, table, column)`, both perhaps left out."""
    given: list[Any] = [one if not isinstance(one, exp.Null) else None for one in call.expressions[at : at + 2]]
    table = given[0] if given else None
    column = given[1] if len(given) > 1 else None
    name = column.name if column is not None else "p_event_time"
    return exp.column(name, table=table.name if table is not None else None)


def _moment(argument: exp.Expr) -> exp.Expr:
    return exp.cast(argument.copy(), exp.DataType.Type.TIMESTAMPTZ)


def _seconds(argument: exp.Expr) -> float:
    found = _DURATION.fullmatch(argument.name)
    if found is None:
        raise refused(f"{argument.sql()} is no duration such as '1 day'")
    secs = float(found[1]) * _UNIT_SECS[(found[2] or "s").lower()[0]]
    if secs > _LONGEST_SECS:
        raise refused(f"{argument.sql()} is too long: nothing in the lake is that old")
    return secs


def _first_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return " ".join(text.split())[:300] or type(error).__name__
