"""`ingestd parse`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import DEFAULT_PLACES, AsSource, ConfigFile, Json, SampledFiles, SampledObjects

if TYPE_CHECKING:
    from ingestd.cli.samples import Place, Record
    from ingestd.schemas import Classifier, Registry

EXIT_FAILED = 1
MOST_TOLD = 20
"""Rejects on stderr, one line each; --json has all."""

LogTypes = Annotated[
    list[str] | None,
    typer.Option("--log-type", envvar="INGESTD_LOG_TYPE", help="Only this one; several may be given. [default: any]"),
]
Schemas = Annotated[
    list[Path] | None,
    typer.Option("--schemas", envvar="INGESTD_SCHEMAS", help="More schemas: files or folders.", exists=True),
]


def command(
    files: SampledFiles,
    log_types: LogTypes = None,
    schemas: Schemas = None,
    objects: SampledObjects = 10,
    source: AsSource = "",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what becomes of the records in files or objects.

    Normalised events go to stdout, one JSON object per line; the summary and what did not parse go to stderr. With
    --json each line says file, record, log type, the event or the reason for the reject, and why it is none of the
    other log types. Exit code 1 when something did not parse.
    """
    from ingestd.cli import samples

    classifier = registry(config, schemas or []).classifier(log_types or ())
    found: Counter[str] = Counter()
    rejected = 0
    with samples.places(files, config, source, objects) as places:
        for answer in _answers(places, classifier, explain=as_json):
            if "reason" in answer:
                rejected += 1
                if rejected <= MOST_TOLD:
                    where = f"{answer['file']}: record {answer['record']}"
                    output.note(f"{where}: {answer['reason']}: {answer['detail']}")
            else:
                found[answer["log_type"]] += 1
            if as_json or "event" in answer:
                shown = answer if as_json else answer["event"]
                print(json.dumps(shown, ensure_ascii=False, separators=(",", ":")))
    for log_type, count in sorted(found.items()):
        output.note(f"{log_type}: {count:,} events")
    output.note(f"{found.total():,} events, {rejected:,} rejects")
    raise typer.Exit(EXIT_FAILED if rejected or not found else 0)


def registry(config: Path | None, schemas: list[Path]) -> Registry:
    """The log types of the configuration, where there is one, and of more files and folders. Raises ConfigError."""
    from ingestd.config.load import load
    from ingestd.schemas import Registry

    place = config or next((place for place in DEFAULT_PLACES if place.is_file()), None)
    if place is None:
        return Registry.load(schemas)
    root = load(place)
    return Registry.load([*map(Path, root.schemas.paths), *schemas], builtin=root.schemas.builtin)


def _answers(files: list[Place], classifier: Classifier, *, explain: bool) -> Iterator[dict[str, Any]]:
    from ingestd.cli import samples
    from ingestd.model import Framing
    from ingestd.schemas import SessionInfo
    from ingestd.schemas.explain import Explainer

    explainer = Explainer(classifier) if explain else None
    for file in files:
        session = classifier.session(SessionInfo(identity=f"file:{file}", source_id="parse", source_label="parse"))
        with samples.opened(file) as stream:
            for record in stream.records(Framing()):
                for answer in _answer(record, session):
                    if explainer is not None and isinstance(record.data, bytes):
                        answer["not"] = explainer.others(record.data, answer["log_type"])
                    yield {"file": str(file), "record": record.ordinal, **answer}


def _answer(record: Record, session: Any) -> Iterator[dict[str, Any]]:
    from ingestd.schemas import Rejected

    if not isinstance(record.data, bytes):
        yield {"log_type": "", "reason": record.data.reason, "detail": record.data.detail}
        return
    read = session.read(record.data, record.ordinal, record.header)
    for one in read if isinstance(read, list) else [read]:
        if isinstance(one, Rejected):
            yield {"log_type": one.log_type, "reason": one.reason, "detail": one.detail}
        elif one is not None:
            yield {"log_type": one["p_log_type"], "event": one}
