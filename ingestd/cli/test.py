"""`ingestd test`."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import Json
from ingestd.cli.public import existing, option

if TYPE_CHECKING:
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.testing.coverage import Coverage, FileCoverage
    from ingestd.detections.testing.suite import Report, Settings
    from ingestd.detections.testing.verification import Verification

EXIT_FAILED = 1
MOST_CHILDREN = 8
_WITHOUT_EFFECT = "Of the public command; accepted without effect."

Texts = list[str] | None


def command(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(envvar="INGESTD_PATHS", help="Folders or files of detections. [default: the working folder]"),
    ] = None,
    path: Annotated[
        list[Path] | None, option("--path", "The same as PATHS, as the public command has it.", show_default=False)
    ] = None,
    filter: Annotated[
        Texts, option("--filter", "Only detections whose YAML says KEY=V1,V2 (any of them) or KEY!=V1,V2 (none).")
    ] = None,
    minimum_tests: Annotated[int, option("--minimum-tests", "Tests that each detection must have.", min=0)] = 0,
    test_names: Annotated[Texts, option("--test-names", "Only tests of this name.")] = None,
    ignore_files: Annotated[Texts, option("--ignore-files", "A YAML file, or a pattern, to pass over.")] = None,
    ignore_extra_keys: Annotated[bool, option("--ignore-extra-keys", "Accept keys that nobody knows.")] = False,
    skip_disabled_tests: Annotated[
        bool, option("--skip-disabled-tests", "Leave out the tests of what is not enabled.")
    ] = False,
    available_destination: Annotated[
        Texts, option("--available-destination", "A destination that exists; naming others fails.")
    ] = None,
    show_failures_only: Annotated[bool, option("--show-failures-only", "Print nothing about what passed.")] = False,
    sort_test_results: Annotated[bool, option("--sort-test-results", "What passed first, then what failed.")] = False,
    as_json: Json = False,
    junit: Annotated[
        Path | None, option("--junit", "Write a JUnit report to this file too.", ours=True, dir_okay=False)
    ] = None,
    coverage: Annotated[bool, option("--coverage", "Tell which lines of rules no test ran.", ours=True)] = False,
    table_data: Annotated[
        list[Path] | None,
        option("--table-data", "A folder with the data of lookup tables.", ours=True, exists=True, file_okay=False),
    ] = None,
    verify_routing: Annotated[
        bool,
        option("--verify-routing", "Also compare routing with running every rule, on made-up events.", ours=True),
    ] = False,
    mutations: Annotated[
        int, option("--mutations", "Events per log type to make up from the samples.", ours=True, min=0)
    ] = 10_000,
    watch: Annotated[bool, option("--watch", "Run again whenever a file changes.", ours=True)] = False,
    jobs: Annotated[
        int, option("--jobs", "Processes.", ours=True, min=1, show_default="one per CPU, at most 8")
    ] = min(os.cpu_count() or 1, MOST_CHILDREN),
    workers: Annotated[int | None, option("--workers", _WITHOUT_EFFECT, hidden=True)] = None,
    ignore_table_names: Annotated[bool, option("--ignore-table-names", _WITHOUT_EFFECT, hidden=True)] = False,
    valid_table_names: Annotated[Texts, option("--valid-table-names", _WITHOUT_EFFECT, hidden=True)] = None,
    api_token: Annotated[str, option("--api-token", _WITHOUT_EFFECT, hidden=True)] = "",
    api_host: Annotated[str, option("--api-host", _WITHOUT_EFFECT, hidden=True)] = "",
) -> None:
    """Run the tests that detections carry.

    Needs nothing but the files. Everything that is loaded has to be right, and a path without tests is an error,
    not a success. Takes the flags of the public command, its environment (PANTHER_MINIMUM_TESTS, …), and its settings
    file .panther_settings.yml in the working folder.
    """
    from ingestd.cli import test_report, watching
    from ingestd.detections.testing import suite

    chosen = _chosen(context, paths or [], path or [])
    if watch:
        raise typer.Exit(watching.run_again(chosen))
    measured = _coverage(chosen) if coverage else None
    detections = _load(chosen, tuple(ignore_files or ()), ignore_extra_keys, measured)
    ids = _ids(detections, filter or [])
    settings = suite.Settings(
        ids=tuple(name for name in ids if name in detections.detections),
        names=tuple(test_names or ()),
        skip_disabled=skip_disabled_tests,
        destinations=tuple(available_destination) if available_destination else None,
        minimum=minimum_tests,
        jobs=jobs,
    )
    report = suite.run_all(detections, settings, measured)
    # Before tables are loaded: that starts threads, and a process with threads should not fork.
    compared = _verify(detections, mutations, jobs) if verify_routing else None
    _add_tables(report, detections, ids, table_data or [], settings)
    files = None if measured is None else _covered(detections, report, measured)
    if junit is not None:
        _write_junit(report, junit)
    if as_json:
        output.print_json(test_report.document(report, files, compared))
    else:
        test_report.print_text(report, failures_only=show_failures_only, by_outcome=sort_test_results)
        test_report.print_summaries(report, files, compared)
    raise typer.Exit(0 if report.passed and (compared is None or compared.passed) else EXIT_FAILED)


def _chosen(context: typer.Context, paths: list[Path], path: list[Path]) -> list[Path]:
    """What to test: arguments win over `--path` of the environment or the settings file."""
    source = context.get_parameter_source("path")
    if paths and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("name paths as arguments or by --path, not both ways", param_hint="--path")
    return existing(paths or path or [Path()], "PATHS")


def _verify(detections: DetectionSet, mutations: int, jobs: int) -> Verification:
    from ingestd.detections.testing.verification import verify

    output.note(f"comparing routing with running every rule, on {mutations} made-up events per log type…")
    return verify(detections, mutations=mutations, jobs=jobs)


def _add_tables(
    report: Report, detections: DetectionSet, ids: tuple[str, ...], folders: list[Path], settings: Settings
) -> None:
    """The tests of lookup tables, where there is anything to look at."""
    names = [
        name
        for name in ids
        if name in detections.lookup_tables
        and (folders or detections.lookup_tables[name].file or detections.items[name].data.get("Tests"))
    ]
    if names:
        from ingestd.cli import lookup_tests

        lookup_tests.add(report, detections, names, folders, settings)


def _covered(detections: DetectionSet, report: Report, measured: Coverage) -> list[FileCoverage]:
    """What the tests ran of the code of each detection that was tested."""
    tested = {result.id for result in report.results} & detections.detections.keys()
    codes = {detections.detections[name].code for name in tested}
    return measured.report([code for code in codes if code], report.covered)


def _write_junit(report: Report, file: Path) -> None:
    from ingestd.cli import test_report

    try:
        test_report.write_junit(report, file)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}", param_hint="--junit") from None


def _coverage(paths: list[Path]) -> Coverage:
    from ingestd.detections.testing.coverage import Coverage, NoCoverage

    try:
        return Coverage([str(path) for path in paths])
    except NoCoverage as error:
        raise typer.BadParameter(str(error), param_hint="--coverage") from None


def _load(paths: list[Path], ignore: tuple[str, ...], extra_keys: bool, measured: Coverage | None) -> DetectionSet:
    """What can be loaded; what cannot is in the set's problems."""
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.options import Options

    options = Options(
        paths=tuple(str(path) for path in paths),
        ignore_files=ignore,
        allow_unknown_keys=extra_keys,
        include_disabled=True,
        keep_tests=True,
    )
    # A rule may print while it is imported, and our stdout is for results.
    with redirect_stdout(sys.stderr), measured or nullcontext():
        return DetectionSet.examine(options)


def _ids(detections: DetectionSet, filters: list[str]) -> tuple[str, ...]:
    """Detections and lookup tables to test."""
    from ingestd.detections.testing.selection import Filter, FilterError, choose

    try:
        wanted = [Filter.parse(text) for text in filters]
    except FilterError as error:
        output.note(f"--filter: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    every = (*detections.ids, *sorted(detections.lookup_tables))
    if not wanted:
        return every
    ids = choose((detections.items[name] for name in every), wanted)
    if not ids:
        output.note("no detection meets the filter")
        raise typer.Exit(EXIT_FAILED)
    return tuple(sorted(ids))
