"""`ingestd validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import DEFAULT_PLACES, ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.config.load import Loaded
    from ingestd.config.models import Root
    from ingestd.errors import Problem

EXIT_FAILED = 1
EXIT_CONFIG = 78


def command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(envvar="INGESTD_PATHS", exists=True, help="Folders of detections to check instead."),
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check configuration, schemas and detections.

    Every mistake is told, each with its file and line. Nothing is connected to. With PATHS the detections there are
    checked, whether they are enabled or not, and nothing else; log types are the built-in ones and, where there is a
    configuration, those of its schemas.
    """
    if paths:
        _check_folders(paths, config, as_json=as_json)
    from ingestd.cli import code
    from ingestd.config.load import examine

    known: set[str] = set()

    def log_types(root: Root) -> set[str]:
        known.update(code.log_types(root))
        return known

    loaded = examine(config_file(config), log_types=log_types)
    detections, problems, warnings = code.detection_problems(loaded.root, known or None)
    problems = [*loaded.problems, *map(loaded.located, problems)]
    if as_json:
        _print_json(problems, warnings, loaded.files)
    else:
        _print(problems, warnings)
        if not problems:
            _note_valid(loaded, detections)
    raise typer.Exit(EXIT_CONFIG if problems else 0)


def _check_folders(paths: list[Path], config: Path | None, *, as_json: bool) -> None:
    """Check these folders of detections, and exit."""
    from ingestd.cli import code

    names = tuple(str(path) for path in paths)
    count, problems, warnings = code.folder_problems(names, _root(config))
    if as_json:
        _print_json(problems, warnings, names)
    else:
        _print(problems, warnings)
        if not problems and count:
            output.note(f"{', '.join(names)}: {count} detections are valid")
    if not count and not problems:
        output.note(f"there is no detection in {', '.join(names)}")
    raise typer.Exit(EXIT_FAILED if problems or not count else 0)


def _root(config: Path | None) -> Root:
    """The configuration, as far as there is one."""
    from ingestd.config.load import examine
    from ingestd.config.models import Root

    there = config or next((place for place in DEFAULT_PLACES if place.is_file()), None)
    return Root.model_validate({}) if there is None else examine(there).root


def _print(problems: list[Problem], warnings: list[Problem]) -> None:
    for warning in warnings:
        output.note(f"warning: {warning}")
    for problem in problems:
        print(output.plain(problem))
    if problems:
        output.note(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")


def _note_valid(loaded: Loaded, detections: int) -> None:
    counts = {
        "sources": len(loaded.root.sources),
        "detections": detections,
        "destinations": len(loaded.root.destinations),
    }
    output.note(f"{loaded.file} is valid ({', '.join(f'{name}: {count}' for name, count in counts.items())})")
    if not detections:
        output.note("no detection is enabled, so nothing makes an alert")


def _print_json(problems: list[Problem], warnings: list[Problem], files: Any) -> None:
    answer = {"ok": not problems, "problems": problems, "warnings": warnings, "files": list(files)}
    output.print_json({key: _as_json(value) for key, value in answer.items()})


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    fields = ("file", "line", "path", "message", "hint")
    if all(hasattr(value, field) for field in fields):
        return {field: getattr(value, field) for field in fields if getattr(value, field)}
    return value
