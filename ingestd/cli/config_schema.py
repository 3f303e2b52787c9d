"""`ingestd config-schema`."""

from __future__ import annotations

from ingestd.cli import output


def command() -> None:
    """Print the JSON Schema of the configuration.

    Written beside the configuration as ingestd.schema.json, a first line
    `# yaml-language-server: $schema=ingestd.schema.json` makes editors complete and check as you type.
    """
    from ingestd.config import show

    output.print_json(show.json_schema())
