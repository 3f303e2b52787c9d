"""`ingestd validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.config.load import Loaded
    from ingestd.config.models import Root
    from ingestd.errors import Problem

EXIT_CONFIG = 78


def command(config: ConfigFile = None, as_json: Json = False) -> None:
    """Check configuration, schemas and detections.

    Every mistake is told, each with its file and line. Nothing is connected to.
    """
    from ingestd.cli import code
    from ingestd.config.load import examine

    known: set[str] = set()

    def log_types(root: Root) -> set[str]:
        known.update(code.log_types(root))
        return known

    loaded = examine(config_file(config), log_types=log_types)
    problems, warnings = code.detection_problems(loaded.root, known or None)
    problems = loaded.problems + problems
    if as_json:
        answer = {"ok": not problems, "problems": problems, "warnings": warnings, "files": loaded.files}
        output.print_json({key: _as_json(value) for key, value in answer.items()})
    else:
        _print(loaded, problems, warnings)
    raise typer.Exit(EXIT_CONFIG if problems else 0)


def _print(loaded: Loaded, problems: list[Problem], warnings: list[Problem]) -> None:
    for warning in warnings:
        output.note(f"warning: {warning}")
    for problem in problems:
        print(problem)
    if problems:
        output.note(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
        return
    root = loaded.root
    output.note(f"{loaded.file} is valid (sources: {len(root.sources)}, destinations: {len(root.destinations)})")


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    fields = ("file", "line", "path", "message", "hint")
    if all(hasattr(value, field) for field in fields):
        return {field: getattr(value, field) for field in fields if getattr(value, field)}
    return value
