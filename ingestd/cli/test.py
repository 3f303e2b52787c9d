"""`ingestd test`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import Json

if TYPE_CHECKING:
    from ingestd.detections.testcase import TestResult
    from ingestd.detections.testing import Report

EXIT_FAILED = 1


def command(
    paths: Annotated[
        list[Path], typer.Argument(envvar="INGESTD_PATHS", help="Folders or files of detections.", exists=True)
    ],
    names: Annotated[
        list[str] | None, typer.Option("--test-names", envvar="INGESTD_TEST_NAMES", help="Only tests of this name.")
    ] = None,
    minimum: Annotated[
        int,
        typer.Option(
            "--minimum-tests", envvar="INGESTD_MINIMUM_TESTS", min=0, help="Tests each detection must have."
        ),
    ] = 0,
    destinations: Annotated[
        list[str] | None,
        typer.Option(
            "--available-destination", envvar="INGESTD_AVAILABLE_DESTINATION", help="One that exists; others fail."
        ),
    ] = None,
    failures_only: Annotated[
        bool,
        typer.Option(
            "--show-failures-only", envvar="INGESTD_SHOW_FAILURES_ONLY", help="Print nothing about the rest."
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", envvar="INGESTD_JOBS", min=1, help="Processes.", show_default="one per CPU")
    ] = min(os.cpu_count() or 1, 8),
    as_json: Json = False,
) -> None:
    """Run the tests that detections carry.

    Needs nothing but the files. A path without tests is an error, not a success.
    """
    from ingestd.detections import testing
    from ingestd.errors import ConfigError

    settings = testing.Settings(
        names=tuple(names or ()),
        destinations=tuple(destinations) if destinations else None,
        minimum=minimum,
        jobs=jobs,
    )
    try:
        detections = testing.load_for_tests(tuple(str(path) for path in paths))
    except ConfigError as error:
        for problem in error.problems:
            output.note(str(problem))
        raise typer.Exit(EXIT_FAILED) from None
    report = testing.run_all(detections, settings)
    if as_json:
        output.print_json(_document(report))
    else:
        _print(report, failures_only=failures_only)
    raise typer.Exit(0 if report.passed else EXIT_FAILED)


def _print(report: Report, *, failures_only: bool) -> None:
    from ingestd.detections.testing import line_of

    heading = ""
    for result in report.results:
        if result.passed and failures_only:
            continue
        if result.id != heading:
            heading = result.id
            print(heading)
        print(f"  {'pass' if result.passed else 'FAIL'}  {result.name}")
        if not result.passed:
            print(f"        {result.file}:{line_of(result)}")
            for reason in [*result.errors, *(f"printed: {line}" for line in result.printed.splitlines())]:
                print(f"        {reason}")
    for name, reasons in report.failed.items():
        if not any(result.id == name and not result.passed for result in report.results):
            print(f"{name}\n  FAIL  {'; '.join(reasons)}")
    passed = sum(result.passed for result in report.results)
    output.note(
        f"{len(report.results)} tests, {len(report.results) - passed} failed; "
        f"{len(report.untested)} detections without a test; {report.duration_seconds:.1f} s"
    )
    if not report.results:
        output.note("no test was run")


def _document(report: Report) -> dict[str, Any]:
    passed = sum(result.passed for result in report.results)
    return {
        "summary": {
            "passed": report.passed,
            "tests": len(report.results),
            "tests_failed": len(report.results) - passed,
            "failed": report.failed,
            "untested": report.untested,
            "duration_seconds": round(report.duration_seconds, 3),
        },
        "tests": [_entry(result) for result in report.results],
    }


def _entry(result: TestResult) -> dict[str, Any]:
    from ingestd.detections.testing import line_of

    functions = ("title", "dedup", "severity", "alert_context", "destinations")
    return {
        "id": result.id,
        "name": result.name,
        "kind": result.kind,
        "expected": result.expected,
        "actual": result.actual,
        "passed": result.passed,
        **{name: result.output(name) for name in functions},
        "errors": result.errors,
        "file": result.file,
        "line": line_of(result),
        "duration_seconds": round(result.duration_seconds, 6),
    }
