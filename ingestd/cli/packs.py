"""`ingestd packs list`, `show` and `check`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output, public
from ingestd.cli.options import Json

if TYPE_CHECKING:
    from ingestd.detections.loading.detection_set import DetectionSet

EXIT_FAILED = 1

app = typer.Typer(help="Packs: what they enable, and whether they are complete.", no_args_is_help=True)
Paths = Annotated[
    list[Path] | None,
    public.option("--path", "Folders or files of detections. [default: the working folder]", show_default=False),
]


@app.command("list")
def list_packs(path: Paths = None, as_json: Json = False) -> None:
    """All packs, with how many items and detections each names."""
    loaded = _load(path)
    rows = [
        [
            name,
            str(loaded.items[name].data.get("DisplayName") or ""),
            len(ids),
            sum(one in loaded.detections for one in ids),
        ]
        for name, ids in sorted(loaded.packs.items())
    ]
    output.print_rows(["pack", "name", "items", "detections"], rows, as_json=as_json, whole=["pack"])


@app.command("show")
def show(
    pack: Annotated[str, typer.Argument(envvar="INGESTD_PACK", help="Id of the pack.")],
    path: Paths = None,
    as_json: Json = False,
) -> None:
    """What one pack names, and whether its file enables it."""
    from ingestd.detections.loading.items import did_you_mean

    loaded = _load(path)
    if pack not in loaded.packs:
        hint = did_you_mean(pack, loaded.packs)
        raise typer.BadParameter(f"there is no pack {pack!r}" + (f"; {hint}" if hint else ""), param_hint="PACK")
    rows = []
    for name in loaded.packs[pack]:
        item = loaded.items.get(name)
        if item is None:
            rows.append(["", name, None, "no item has this id"])
        else:
            rows.append([item.kind, name, item.data.get("Enabled"), str(item.file)])
    columns = ["type", "id", "enabled", "file"]
    output.print_rows(columns, sorted(rows, key=lambda row: (row[0], row[1])), as_json=as_json, whole=["id"])


@app.command("check")
def check(path: Paths = None, as_json: Json = False) -> None:
    """What packs lack or have for nothing: helpers, queries, models.

    The exit code is 1 when something is missing: an id that nothing has, a helper that a detection of the pack
    imports, a query or a data model that it needs. Ingestd itself always loads helpers and data models; other tools
    take from a fork only what the pack names.
    """
    from ingestd.detections.loading import packs

    loaded = _load(path)
    findings = packs.check(loaded)
    unknown = [problem for problem in loaded.problems if problem.path.startswith("PackDefinition")]
    if not loaded.packs:
        output.note("there is no pack")
        raise typer.Exit(EXIT_FAILED)
    if not as_json:
        for problem in unknown:
            print(output.plain(problem))
    if findings or as_json:
        output.print_rows(["pack", "item", "what", "why"], findings, as_json=as_json, whole=["pack", "item"])
    missing = len(unknown) + sum(finding.what == "missing" for finding in findings)
    output.note(
        f"{len(loaded.packs)} packs: {missing} items are missing, {len(findings) + len(unknown) - missing} extra"
    )
    raise typer.Exit(EXIT_FAILED if missing else 0)


def _load(path: list[Path] | None) -> DetectionSet:
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.options import Options

    paths = tuple(str(one) for one in public.existing(path or [Path()], "--path"))
    with redirect_stdout(sys.stderr):  # a rule may print while it is imported, and our stdout is for results
        loaded = DetectionSet.examine(Options(paths=paths, include_disabled=True, keep_tests=True))
    others = sum(not problem.path.startswith("PackDefinition") for problem in loaded.problems)
    if others:
        output.note(f"{others} other problems in the files: `ingestd validate` tells them")
    return loaded
