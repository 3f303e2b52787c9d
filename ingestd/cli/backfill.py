"""`ingestd backfill`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.backfill.plan import Plan
    from ingestd.backfill.tally import Tally

EXIT_FAILED = 1

Url = Annotated[str, typer.Argument(envvar="INGESTD_BACKFILL_URL", help="What to read, e.g. s3://bucket/prefix/.")]
Source = Annotated[
    str,
    typer.Option(
        "--source",
        envvar="INGESTD_SOURCE",
        help="Whose credentials, routes and label to use. [default: the only source that reads such objects]",
    ),
]
Since = Annotated[
    str, typer.Option("--since", envvar="INGESTD_SINCE", help="From here on: 2026-01-31, 2026-01-31T12:00Z or 30d.")
]
Until = Annotated[str, typer.Option("--until", envvar="INGESTD_UNTIL", help="Only what is before that time.")]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        envvar="INGESTD_LAYOUT",
        help="Folders below the prefix that carry the time, e.g. '*/CloudTrail/*/%Y/%m/%d/': only they are listed. "
        "Without it, times are those of the last write.",
    ),
]
Inventory = Annotated[
    str,
    typer.Option(
        "--inventory",
        envvar="INGESTD_INVENTORY",
        help="Manifest of an S3 Inventory, or the folder of its manifests, to read in place of listing.",
    ),
]
ObjectsPerSec = Annotated[
    float | None,
    typer.Option(
        "--objects-per-sec", envvar="INGESTD_OBJECTS_PER_SEC", min=0.01, help="At most. [default: no limit]"
    ),
]
BytesPerSec = Annotated[
    str,
    typer.Option("--bytes-per-sec", envvar="INGESTD_BYTES_PER_SEC", help="At most, e.g. 20MiB. [default: no limit]"),
]
Again = Annotated[
    str,
    typer.Option(
        "--again",
        envvar="INGESTD_AGAIN",
        metavar="NAME",
        help="Read what was read already once more, as new records, under a name for this repetition.",
    ),
]
Detect = Annotated[
    bool,
    typer.Option("--detections/--no-detections", envvar="INGESTD_DETECTIONS", help="Whether to run them and alert."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", envvar="INGESTD_DRY_RUN", help="Only count what would be read.")]
ShowProgress = Annotated[
    bool, typer.Option("--progress/--no-progress", envvar="INGESTD_PROGRESS", help="On a terminal, show a bar.")
]


def command(
    url: Url,
    source: Source = "",
    since: Since = "",
    until: Until = "",
    layout: Layout = "",
    inventory: Inventory = "",
    objects_per_sec: ObjectsPerSec = None,
    bytes_per_sec: BytesPerSec = "",
    again: Again = "",
    detections: Detect = True,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    progress: ShowProgress = True,
    as_json: Json = False,
) -> None:
    """Read what already lies in a bucket, each object once.

    By prefix, time or inventory; it does not matter whether a notification names an object too, or whether a daemon
    runs on the same host. The same command reads what is left when it was broken off; Ctrl-C finishes what was begun.
    The exit code is 1 when objects were set aside; `ingestd rejects` shows why.
    """
    from ingestd.backfill.run import Order, choose_source
    from ingestd.backfill.run import run as run_backfill
    from ingestd.backfill.tally import Tally
    from ingestd.config.load import load

    plan = _plan(url, since, until, layout, inventory, again)
    file = config_file(config)
    chosen = choose_source(load(file), plan.place.scheme, source)
    shows_bar = progress and not dry_run and sys.stderr.isatty()
    order = Order(
        plan=plan,
        source=chosen,
        objects_per_sec=objects_per_sec,
        bytes_per_sec=_bytes(bytes_per_sec),
        detect=detections,
        quiet=shows_bar,
    )
    tally = Tally()
    if dry_run:
        import asyncio

        from ingestd.backfill.run import count

        asyncio.run(count(file, order, tally))
        _print_count(tally, as_json=as_json)
        return
    if shows_bar:
        from ingestd.cli.backfill_bar import shown

        with shown(tally):
            code = run_backfill(file, order, tally)
    else:
        code = run_backfill(file, order, tally)
    _print_end(tally, as_json=as_json)
    raise typer.Exit(code or (EXIT_FAILED if tally.set_aside else 0))


def _plan(url: str, since: str, until: str, layout: str, inventory: str, again: str) -> Plan:
    """Raises BadParameter naming the option."""
    from ingestd.backfill import layout as layouts
    from ingestd.backfill.again import check_name
    from ingestd.backfill.plan import Plan, moment, place

    now = datetime.now(UTC)
    where = "URL"
    try:
        target = place(url)
        where = "--since"
        begins = moment(since, now) if since else None
        where = "--until"
        ends = moment(until, now) if until else None
        if begins is not None and ends is not None and begins >= ends:
            raise ValueError("the time ends before it begins")
        where = "--layout"
        if layout:
            layouts.check(layout, begins)
            layouts.dates(layout, begins or now, ends or now)
        where = "--inventory"
        manifest = place(inventory) if inventory else None
        if manifest is not None and manifest.scheme != target.scheme:
            raise ValueError(f"an inventory of {target.scheme}:// lies in {target.scheme}:// too")
        if manifest is not None and layout:
            raise ValueError("an inventory names every object: a layout has no use here, --since and --until have")
        where = "--again"
        repetition = check_name(again) if again else ""
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=where) from None
    return Plan(place=target, since=begins, until=ends, layout=layout, inventory=manifest, again=repetition)


def _bytes(text: str) -> float | None:
    from pydantic import TypeAdapter, ValidationError

    from ingestd.config.base import Bytes

    if not text:
        return None
    try:
        size = float(TypeAdapter(Bytes).validate_python(text))
    except ValidationError:
        size = 0.0
    if size <= 0:
        raise typer.BadParameter(f"{text!r} is no size; write for example 20MiB", param_hint="--bytes-per-sec")
    return size


def _print_count(tally: Tally, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"objects": tally.total_objects, "bytes": tally.total_bytes})
    else:
        print(f"{tally.total_objects:,} objects, {tally.total_bytes:,} bytes")


def _print_end(tally: Tally, *, as_json: bool) -> None:
    from ingestd.telemetry import catalogue

    facts: dict[str, Any] = {
        "complete": tally.is_complete,
        "objects": tally.objects,
        "bytes": tally.bytes,
        # those that the listing says enough of to be told at once, and those that had to be opened
        "known": tally.known_objects + round(catalogue.total(catalogue.OBJECTS, outcome="known")),
        "set_aside": tally.set_aside,
        "events": round(catalogue.total(catalogue.RECORDS, outcome="ok")),
        "alerts": round(catalogue.total(catalogue.ALERTS_RAISED)),
        "failure": tally.failure,
    }
    if as_json:
        output.print_json(facts)
    else:
        print(
            f"{facts['objects']:,} objects ({facts['bytes']:,} bytes), {facts['known']:,} of them known already, "
            f"{facts['set_aside']:,} set aside; {facts['events']:,} events, {facts['alerts']:,} alerts"
        )
    if tally.failure:
        output.note(f"The listing could not be read to its end: {tally.failure}")
    elif not tally.is_complete:
        output.note("Not everything was read; the same command reads the rest.")
