"""`ingestd version`."""

from __future__ import annotations

import platform

from ingestd import __version__
from ingestd.cli import output
from ingestd.cli.options import Json


def command(as_json: Json = False) -> None:
    """Print the version, and on what it runs."""
    if as_json:
        output.print_json(
            {"ingestd": __version__, "python": platform.python_version(), "system": platform.platform()}
        )
    else:
        print(f"ingestd {__version__} (Python {platform.python_version()}, {platform.platform()})")
