"""`ingestd rejects`."""

from __future__ import annotations

from typing import Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

Source = Annotated[str, typer.Option("--source", envvar="INGESTD_SOURCE", help="Of this source only.")]
Reason = Annotated[str, typer.Option("--reason", envvar="INGESTD_REASON", help="With this reason only.")]
Limit = Annotated[
    int, typer.Option("--limit", envvar="INGESTD_LIMIT", min=1, max=100_000, help="How many, newest first.")
]
Summary = Annotated[bool, typer.Option("--summary", envvar="INGESTD_SUMMARY", help="Counts by source and reason.")]

COLUMNS = ("p_parse_time", "p_source_id", "p_log_type", "reason", "detail", "p_source_file", "ordinal", "payload")


def command(
    config: ConfigFile = None,
    source: Source = "",
    reason: Reason = "",
    limit: Limit = 20,
    summary: Summary = False,
    as_json: Json = False,
) -> None:
    """Show what could not be read or parsed, and why."""
    from ingestd.config.load import load
    from ingestd.lake.query import query

    wanted = [
        f"{column} = {quoted(value)}" for column, value in (("p_source_id", source), ("reason", reason)) if value
    ]
    where = f"where {' and '.join(wanted)}" if wanted else ""
    tail = f"{where} order by p_parse_time desc limit {limit:d}"
    sql = f"select {', '.join(COLUMNS)} from rejects {tail}"  # noqa: S608 - values are quoted
    if summary:
        sql = f"select p_source_id, reason, count(*) as records from rejects {where} group by all order by all"  # noqa: S608 - the same
    root = load(config_file(config))
    answer = query(sql, root.lake.url)
    output.print_rows(answer.columns, answer.rows, as_json=as_json)


def quoted(text: str) -> str:
    """A SQL literal; the lake is opened read-only and confined, so that the worst is a wrong answer."""
    return "'" + text.replace("'", "''") + "'"
