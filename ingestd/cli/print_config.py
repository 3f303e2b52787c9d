"""`ingestd print-config`."""

from __future__ import annotations

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file


def command(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print the configuration in force.

    Files are merged, variables expanded, defaults filled in, secrets left out.
    """
    from ingestd.config import show
    from ingestd.config.load import load

    root = load(config_file(config))
    if as_json:
        output.print_json(show.as_json(root))
    else:
        print(show.as_yaml(root), end="")
