"""`ingestd infer-schema`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import AsSource, ConfigFile, Json, SampledObjects

if TYPE_CHECKING:
    from ingestd.cli.samples import Advance, Opened, Place
    from ingestd.model import Framing
    from ingestd.schemas.infer import Inference, Inferer

EXIT_FAILED = 1
MOST_TOLD = 20
HEAD_RECORDS = 500
FORMS = {"xml": "XML", "parquet": "Parquet", "avro": "Avro"}

Files = Annotated[
    list[str] | None,
    typer.Argument(
        envvar="INGESTD_FILES",
        help="Files, folders, - for stdin, or objects under a prefix (s3://bucket/prefix); compressed or not.",
    ),
]
Rejects = Annotated[
    bool,
    typer.Option("--rejects", envvar="INGESTD_REJECTS", help="Samples are the records of --source that did not fit."),
]
Name = Annotated[
    str, typer.Option("--name", envvar="INGESTD_NAME", help="Name of the log type. [default: from the first file]")
]
Sample = Annotated[
    int, typer.Option("--sample", envvar="INGESTD_SAMPLE", min=0, help="Only so many per file; 0 is all.")
]
Update = Annotated[
    Path | None,
    typer.Option("--update", envvar="INGESTD_UPDATE", exists=True, dir_okay=False, help="A schema to add to."),
]
ReportFlag = Annotated[
    bool,
    typer.Option("--report", envvar="INGESTD_REPORT", help="Print the evidence in place of the schema."),
]


def command(
    files: Files = None,
    name: Name = "",
    sample: Sample = 0,
    objects: SampledObjects = 10,
    rejects: Rejects = False,
    source: AsSource = "",
    update: Update = None,
    report: ReportFlag = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Write a schema for sample files, objects or rejects.

    The schema goes to stdout, ready to use, with comments where it should be looked at. The samples are then read
    with it: what does not come back whole is told on stderr, and the exit code is 1. --report prints the evidence,
    as a table or with --json. --update prints an existing schema with what it lacks, and tells what it contradicts.
    """
    with _places(files or [], config, source, objects, rejects=rejects) as places:
        inferer, made = _infer(places, name, sample, update)
    breaking: list[str] = []
    if update is not None and made.yaml:
        breaking = _update(inferer, made, update)
    if report:
        _report(made, as_json=as_json)
    elif as_json:
        output.print_json(_document(made))
    else:
        print(made.yaml, end="")
    _tell(made, breaking)
    raise typer.Exit(0 if made.ok and not breaking else EXIT_FAILED)


@contextmanager
def _places(
    files: list[str], config: Path | None, source: str, objects: int, *, rejects: bool
) -> Iterator[list[Place]]:
    """Where the samples are. Raises BadParameter when nothing was said, or two things."""
    from ingestd.cli import samples

    if rejects != (not files):
        raise typer.BadParameter("give files, or --rejects with --source", param_hint="FILES")
    if not rejects:
        with samples.places(files, config, source, objects) as places:
            yield places
        return
    root = samples.configured(config)
    if root is None:
        raise typer.BadParameter(
            "--rejects needs a configuration, which says where the lake is", param_hint="--config"
        )
    if source not in root.sources:
        raise typer.BadParameter(f"--rejects needs one of {', '.join(root.sources)}", param_hint="--source")
    from ingestd.cli.rejected import Rejected

    yield [Rejected(root, source)]


def _infer(places: list[Place], name: str, sample: int, update: Path | None) -> tuple[Inferer, Inference]:
    from ingestd.cli import samples
    from ingestd.schemas.infer import Inferer

    try:
        inferer = Inferer(_old_name(update) if update else name or _name_of(places[0].name))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from None
    with _progress(places) as advance:
        for place in places:
            with samples.opened(place) as stream:
                _read(inferer, str(place), stream, sample, advance)
        return inferer, inferer.finish()


def _read(inferer: Inferer, name: str, stream: Opened, most: int, advance: Advance) -> None:
    framing, head = _framing(inferer, stream)
    inferer.start(name, head, FORMS.get(framing.name, "JSON"))
    if inferer.draft is not None and inferer.draft.delimiter:
        from ingestd.model import Framing

        framing = Framing(name="csv", options={"delimiter": inferer.draft.delimiter})
    for count, record in enumerate(stream.records(framing, advance)):
        if most and count >= most:
            return
        if isinstance(record.data, bytes):
            inferer.add(record.ordinal, record.data)
        else:
            inferer.damage(record.ordinal, f"{record.data.reason}: {record.data.detail}")


def _framing(inferer: Inferer, stream: Opened) -> tuple[Framing, list[bytes]]:
    """How the file is cut, and its first records. An array that decoding does not look for is found by its path."""
    from ingestd.cli.arrays import array_path
    from ingestd.model import Framing

    found, head = stream.head()
    if found in ("json", "lines"):
        path = array_path(stream.plain_head())
        if path is not None:
            note = f"Records lie in an array: framing {{name: json_array, envelope: {path}}} in the route."
            if note not in inferer.notes:
                inferer.notes.append(note)
            return Framing(name="json_array", envelope=path), [b"{}"]
    return Framing(name=found), head[:HEAD_RECORDS]


def _update(inferer: Inferer, made: Inference, old: Path) -> list[str]:
    """Put the updated schema in the place of the new one; what contradicts the old one."""
    from ingestd.schemas.infer.update import updated

    change = updated(old.read_text("utf-8"), str(old), made.fields, made.records)
    made.yaml = change.text
    made.losses = []
    inferer.check(made, made.yaml)
    for line in change.diff:
        output.note(line)
    return change.breaking


def _tell(made: Inference, breaking: list[str]) -> None:
    for line in breaking:
        output.note(f"breaking: {line}")
    for problem in made.problems[:MOST_TOLD]:
        output.note(problem)
    for loss in made.losses[:MOST_TOLD]:
        output.note(f"lost: {loss}")
    low = sum(field.confidence < 0.75 for top in made.fields for field in top.walk())
    output.note(
        f"{made.records:,} records of {made.what}; {made.left_out:,} left out; "
        f"{made.checked:,} read again with the schema, {len(made.losses):,} losses; {low} fields to look at"
    )


def _report(made: Inference, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_document(made))
        return
    rows = [
        (
            field.path,
            field.type,
            ", ".join(f"{key}={value}" for key, value in field.attributes.items()),
            f"{field.seen / max(1, field.of):.0%}",
            ", ".join(f"{kind} {count}" for kind, count in field.evidence.items()),
            f"{field.confidence:.0%}",
            "; ".join([*field.notes, *(f"not so: {text}" for text in field.counter_examples)]),
        )
        for top in made.fields
        for field in top.walk()
    ]
    columns = ("path", "type", "attributes", "present", "evidence", "confidence", "notes")
    output.print_rows(columns, rows, as_json=False, whole=("path", "type"))


def _document(made: Inference) -> dict[str, Any]:
    keys = ("path", "type", "attributes", "seen", "of", "evidence", "confidence", "notes", "counter_examples")
    return {
        "name": made.name,
        "format": made.what,
        "records": made.records,
        "left_out": made.left_out,
        "problems": made.problems,
        "checked": made.checked,
        "losses": [loss._asdict() for loss in made.losses],
        "fields": [{key: getattr(field, key) for key in keys} for top in made.fields for field in top.walk()],
        "schema": made.yaml,
    }


def _name_of(file: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", file.partition(".")[0])
    name = "".join(word[:1].upper() + word[1:] for word in words)[:60]
    return f"Custom.{name}" if name[:1].isalpha() else f"Custom.Log{name}"


def _old_name(file: Path) -> str:
    from ingestd.schemas.load import load_schemas

    found = load_schemas(file.read_text("utf-8"), str(file), file.stem)
    if len(found) != 1:
        raise typer.BadParameter(f"{file} holds {len(found)} schemas; one can be updated", param_hint="--update")
    return found[0].name


@contextmanager
def _progress(places: list[Place]) -> Iterator[Advance]:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    sizes = [place.size for place in places]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda size: bar.advance(task, size)
