"""Options that several commands share. Each is also an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_PLACES = (Path("ingestd.yml"), Path("/etc/ingestd/ingestd.yml"))

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="INGESTD_CONFIG",
        help="The root file of the configuration. [default: ./ingestd.yml, then /etc/ingestd/ingestd.yml]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", envvar="INGESTD_JSON", help="Print JSON for scripts.")]


SampledFiles = Annotated[
    list[str],
    typer.Argument(
        envvar="INGESTD_FILES",
        help="Files, folders, - for stdin, or objects under a prefix (s3://bucket/prefix); compressed or not.",
    ),
]
SampledObjects = Annotated[
    int,
    typer.Option(
        "--objects",
        envvar="INGESTD_OBJECTS",
        min=0,
        help="Of the objects under a prefix only so many, spread over the listing; 0 is all.",
    ),
]
AsSource = Annotated[
    str,
    typer.Option(
        "--source",
        envvar="INGESTD_SOURCE",
        help="The source with whose credentials objects are read. [default: the only one that can, else those of the "
        "environment]",
    ),
]


def config_file(given: Path | None) -> Path:
    """The file to read: what was asked for, else the first of the usual places."""
    if given is not None:
        return given
    for place in DEFAULT_PLACES:
        if place.is_file():
            return place
    raise typer.BadParameter(
        f"none given, and there is no {' or '.join(map(str, DEFAULT_PLACES))}", param_hint="--config"
    )
