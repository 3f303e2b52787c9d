"""`ingestd init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingestd.cli import output

TEMPLATE = """\
# yaml-language-server: $schema=ingestd.schema.json
#
# A starting configuration. `ingestd validate` checks it, `ingestd print-config` shows every default,
# `ingestd run --once` reads what is there, `ingestd run` stays. Relative paths start at this file's folder.

sources:
  inbox:
    type: directory
    path: ./inbox
    # Without routes every known log type is a candidate; naming them is faster and says what you expect:
    # routes:
    #   - {prefix: cloudtrail/, log_types: [AWS.CloudTrail]}

# Rules decide what makes an alert. Put some there: ingestd's own, a fork of the public corpus, yours.
detections: {paths: [detections/]}

# Your own log types, in the public format:
# schemas: {paths: [schemas/]}

destinations:
  screen: {type: console}
  # A secret is never written here; say where it is: {env: NAME}, {file: PATH} or {credential: NAME}.
  # soc: {type: slack, webhook_url: {env: SLACK_WEBHOOK}, severities: [HIGH, CRITICAL]}

lake: {url: ./lake}
state: {path: ./state.db}
"""

Folder = Annotated[Path, typer.Argument(help="Where to write; made if it is not there.", envvar="INGESTD_FOLDER")]
Force = Annotated[bool, typer.Option("--force", envvar="INGESTD_FORCE", help="Overwrite what is there.")]


def command(folder: Folder = Path(), force: Force = False) -> None:
    """Write a starting configuration.

    That is ingestd.yml, its JSON Schema for the editor, an inbox to drop files into, and a folder for detections.
    """
    import json

    from ingestd.config import show

    files = {"ingestd.yml": TEMPLATE, "ingestd.schema.json": json.dumps(show.json_schema(), indent=2) + "\n"}
    existing = [str(folder / name) for name in files if (folder / name).exists()]
    if existing and not force:
        raise typer.BadParameter(f"{' and '.join(existing)} exist; --force overwrites", param_hint="FOLDER")
    try:
        for name in ("inbox", "detections"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
            print(folder / name)
    except OSError as error:
        raise typer.BadParameter(f"cannot write there: {error}", param_hint="FOLDER") from None
    output.note(f"Next: ingestd validate -c {folder / 'ingestd.yml'}")
