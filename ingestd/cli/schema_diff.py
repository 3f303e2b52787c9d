"""`ingestd schema-diff`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

MOST_TOLD = 20

LogType = Annotated[str, typer.Argument(envvar="INGESTD_LOG_TYPE", help="The log type to look at.")]
Events = Annotated[
    int, typer.Option("--events", envvar="INGESTD_EVENTS", min=1, help="Look at so many events, the newest first.")
]
Whole = Annotated[
    bool, typer.Option("--whole", envvar="INGESTD_WHOLE", help="Print the whole schema in place of the difference.")
]


def command(
    log_type: LogType,
    config: ConfigFile = None,
    events: Events = 100_000,
    whole: Whole = False,
    as_json: Json = False,
) -> None:
    """Show what a schema lacks of the events in the lake.

    Fields that events brought and the schema does not have are kept in the lake; here they are offered as a change to
    the schema, which goes to stdout. Values that the schema does not expect are told on stderr. A built-in schema is
    replaced by one of its name under schemas.paths: print it with --whole.
    """
    from ingestd.config.load import load
    from ingestd.schemas.drift import DriftReport
    from ingestd.schemas.registry import Registry

    root = load(config_file(config))
    registry = Registry.load([*map(Path, root.schemas.paths)], builtin=root.schemas.builtin)
    report = DriftReport(registry.schema(log_type))
    for unknown, unexpected in _rows(registry, log_type, root.lake.url, events):
        report.add(unknown, unexpected)
    offer = report.offer()
    if as_json:
        output.print_json(
            {"log_type": log_type, "events": offer.events, "diff": offer.diff, "unexpected": offer.unexpected,
             "schema": offer.text}
        )  # fmt: skip
    else:
        print(offer.text if whole else "".join(f"{line}\n" for line in offer.diff), end="")
    for text, count in [*offer.unexpected.items()][:MOST_TOLD]:
        output.note(f"unexpected: {text} ({count:,} events)")
    output.note(
        f"{offer.events:,} events of {log_type} had what the schema does not say: under {len(offer.fields):,} "
        f"fields at the top, and {len(offer.unexpected):,} kinds of unexpected values"
    )


def _rows(registry: Any, log_type: str, lake: str, most: int) -> Any:
    """`p_unknown_fields` and `p_unexpected` of the newest events that have one."""
    from ingestd.lake.query import query

    table = '"' + log_type.replace('"', '""') + '"'
    sql = (
        f"select p_unknown_fields, p_unexpected from {table} "  # noqa: S608 - the name is one of the registry's
        f"where p_unknown_fields is not null or p_unexpected is not null order by p_event_time desc limit {most:d}"
    )
    for row in query(sql, lake, {log_type: registry.columns(log_type)}).rows:
        yield tuple(_object(text) for text in row)


def _object(text: str | None) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
