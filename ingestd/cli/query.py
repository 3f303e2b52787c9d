"""`ingestd query`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

Sql = Annotated[str, typer.Argument(metavar="SQL", help="What to ask; - reads it from stdin.", envvar="INGESTD_SQL")]


def command(sql: Sql, config: ConfigFile = None, as_json: Json = False) -> None:
    """Ask the lake, in SQL (DuckDB).

    Tables: one per log type ("AWS.CloudTrail"), events (all of them), rule_matches, rule_errors, rejects.

    Example: ingestd query 'select eventName, count(*) from "AWS.CloudTrail" group by all order by 2 desc'
    """
    from ingestd.cli import code
    from ingestd.config.load import load
    from ingestd.lake.query import query

    root = load(config_file(config))
    answer = query(sys.stdin.read() if sql == "-" else sql, root.lake.url, code.columns(root))
    output.print_rows(answer.columns, answer.rows, as_json=as_json)
