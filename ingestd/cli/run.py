"""`ingestd run`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ingestd.cli.options import ConfigFile, config_file

Once = Annotated[
    bool,
    typer.Option("--once", envvar="INGESTD_ONCE", help="Read what is there, commit it, send its alerts, then stop."),
]
ShowProgress = Annotated[
    bool,
    typer.Option(
        "--progress/--no-progress", envvar="INGESTD_PROGRESS", help="With --once on a terminal, show a bar."
    ),
]


def command(config: ConfigFile = None, once: Once = False, progress: ShowProgress = True) -> None:
    """Run the daemon: receive, parse, detect, alert, keep.

    SIGTERM and Ctrl-C finish what was begun, within `shutdown_secs`; a second one ends at once.
    """
    from ingestd import daemon

    file = config_file(config)
    if once and progress and sys.stderr.isatty():
        from ingestd.cli.progress import shown

        with shown():
            raise typer.Exit(daemon.run(file, once=True))
    raise typer.Exit(daemon.run(file, once=once))
