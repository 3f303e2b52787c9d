"""What `ingestd test` prints: lines for people, a document for scripts, JUnit for continuous integration."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

import msgspec

from ingestd.cli import output
from ingestd.detections.testing.suite import line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingestd.detections.testing.case import TestResult
    from ingestd.detections.testing.coverage import FileCoverage
    from ingestd.detections.testing.suite import Report
    from ingestd.detections.testing.verification import Verification

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"


def print_text(report: Report, *, failures_only: bool, by_outcome: bool) -> None:
    """Each test by name; what failed with its place, what was expected, and what the rule itself said."""
    groups: dict[str, list[TestResult]] = {}
    for result in report.results:
        groups.setdefault(result.id, []).append(result)
    for name in report.failed:
        groups.setdefault(name, [])
    order = sorted(groups, key=lambda name: (by_outcome and name in report.failed, name))
    for number, name in enumerate(order):
        if failures_only and name not in report.failed:
            continue
        if by_outcome and number:
            print()
        _print_detection(name, groups[name], report, failures_only=failures_only)
    for problem in report.invalid:
        print(_line(f"invalid: {problem}"))


def _print_detection(name: str, results: list[TestResult], report: Report, *, failures_only: bool) -> None:
    print(_line(name))
    for result in results:
        if not (result.passed and failures_only):
            _print_result(result)
    if name in report.failed and all(result.passed for result in results):
        print(f"  {_coloured('FAIL', _RED)}  {_line('; '.join(report.failed[name]))}")


def _print_result(result: TestResult) -> None:
    print(f"  {_coloured('pass', _GREEN) if result.passed else _coloured('FAIL', _RED)}  {_line(result.name)}")
    if not result.passed:
        print(f"        {_place(result)}")
        for reason in _said(result):
            print(f"        {_line(reason)}")


def _place(result: TestResult) -> str:
    return f"{result.file}:{line_of(result)}"


def _said(result: TestResult) -> Iterator[str]:
    """Why a test failed, what its functions gave, and what the rule printed."""
    yield from result.errors
    for function in result.functions[1:]:
        if not function.error and function.output is not None:
            yield f"{function.name}() gave {function.output!r}"
    yield from (f"printed: {line}" for line in result.printed.splitlines())


def print_summaries(report: Report, files: list[FileCoverage] | None, compared: Verification | None) -> None:
    """What follows the tests: counts, and of coverage and routing what was asked for."""
    print_summary(report)
    if files is not None:
        print_coverage(files)
    if compared is not None:
        print_verification(compared)


def print_summary(report: Report) -> None:
    """Counts, for people."""
    problems = len(report.invalid)
    failed = sum(not result.passed for result in report.results)
    by_tests = {result.id for result in report.results if not result.passed}
    too_few = len(report.failed.keys() - by_tests)
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in report.kinds.items())
    output.note(
        f"{len(report.results)} tests{f' ({kinds})' if kinds else ''}, {failed} failed; "
        + (f"{too_few} detections with too few tests; " if too_few else "")
        + (f"{len(report.skipped)} detections skipped; " if report.skipped else "")
        + f"{len(report.untested)} detections without a test; "
        + (f"{problems} problem{'s' if problems > 1 else ''} in the files; " if problems else "")
        + f"{report.duration_seconds:.1f} s"
    )
    if not report.results:
        output.note("no test was run")


def print_coverage(files: list[FileCoverage]) -> None:
    """One row per file that was not run completely, and the total."""
    lines, missing = sum(file.lines for file in files), sum(len(file.missing) for file in files)
    rows = [
        [os.path.relpath(file.file), file.lines, f"{file.percent:.0f} %", _ranges(file.missing)]
        for file in files
        if file.missing
    ]
    if rows:
        output.print_rows(["file", "lines", "run", "not run"], rows, as_json=False, whole=["file"])
    total = 100.0 * (lines - missing) / lines if lines else 100.0
    output.note(f"coverage: {total:.1f} % of {lines} lines in {len(files)} files")


def print_verification(found: Verification) -> None:
    """Each rule that routing would have left out wrongly, with the event, and the counts."""
    for difference in found.differences:
        print(_line(f"routing leaves out {difference.detection_id} ({difference.kind}) for {difference.log_type}:"))
        print(f"        {json.dumps(difference.event)}")
    if not found.events:
        output.note("routing: no rule has a test with a sample, so nothing was compared")
        return
    for broken in found.broken_off:
        print(_line(f"not compared: {broken}"))
    output.note(
        f"routing: {found.events} events of {found.log_types} log types through {found.rules} rules, "
        f"{found.matches} matches and {found.errors} errors; {len(found.differences)} differences"
    )


def _ranges(lines: list[int]) -> str:
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def document(
    report: Report, coverage: list[FileCoverage] | None = None, compared: Verification | None = None
) -> dict[str, Any]:
    """What `--json` prints."""
    failed = sum(not result.passed for result in report.results)
    summary = {
        "passed": report.passed,
        "tests": len(report.results),
        "tests_failed": failed,
        "kinds": report.kinds,
        "failed": report.failed,
        "skipped": report.skipped,
        "untested": report.untested,
        "invalid": [
            {field: getattr(problem, field) for field in ("file", "line", "path", "message", "hint")}
            for problem in report.invalid
        ],
        "duration_seconds": round(report.duration_seconds, 3),
    }
    if coverage is not None:
        summary["coverage"] = [
            {"file": file.file, "lines": file.lines, "missing": file.missing, "percent": round(file.percent, 1)}
            for file in coverage
        ]
    if compared is not None:
        summary["routing"] = {"passed": compared.passed, **msgspec.to_builtins(compared)}
    return {"summary": summary, "tests": [_entry(result) for result in report.results]}


def _entry(result: TestResult) -> dict[str, Any]:
    alert = result.alert
    printed = [] if result.passed else [f"printed: {line}" for line in result.printed.splitlines()]
    return {
        "id": result.id,
        "name": result.name,
        "kind": result.kind,
        "expected": result.expected,
        "actual": result.actual,
        "passed": result.passed,
        "title": alert.title if alert else None,
        "dedup": alert.dedup if alert else None,
        "severity": alert.severity if alert else None,
        "alert_context": alert.context if alert else None,
        "destinations": alert.destinations if alert else None,
        "errors": [*result.errors, *printed],
        "file": result.file,
        "line": line_of(result),
        "duration_seconds": round(result.duration_seconds, 6),
    }


def write_junit(report: Report, file: Path) -> None:
    """One suite per detection, one case per test; what is wrong with files is a case that is in error."""
    root = Xml.Element("testsuites", name="ingestd test")
    suites: dict[str, list[TestResult]] = {}
    for result in report.results:
        suites.setdefault(result.id, []).append(result)
    for name in sorted({*suites, *report.failed, *report.skipped}):
        _add_suite(root, name, suites.get(name, []), report)
    if report.invalid:
        suite = _suite(root, "files", len(report.invalid), errors=len(report.invalid))
        for problem in report.invalid:
            case = Xml.SubElement(
                suite, "testcase", classname="files", name=_xml(f"{problem.file}:{problem.line or 1}")
            )
            Xml.SubElement(case, "error", message=_xml(str(problem)))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, 0)) for suite in root)))
    root.set("time", f"{report.duration_seconds:.3f}")
    Xml.indent(root)
    Xml.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _add_suite(root: Xml.Element, name: str, results: list[TestResult], report: Report) -> None:
    failures = sum(not result.passed for result in results)
    beside = report.failed.get(name, []) if not failures else []
    skipped = name in report.skipped
    suite = _suite(root, name, len(results) + bool(beside) + skipped, failures + bool(beside), skipped=int(skipped))
    for result in results:
        case = Xml.SubElement(
            suite, "testcase", classname=_xml(name), name=_xml(result.name), file=result.file,
            line=str(line_of(result)), time=f"{result.duration_seconds:.6f}",
        )  # fmt: skip
        if not result.passed:
            failure = Xml.SubElement(case, "failure", message=_xml("; ".join(result.errors)))
            failure.text = _xml("\n".join([_place(result), *_said(result)]))
    if beside or skipped:
        case = Xml.SubElement(suite, "testcase", classname=_xml(name), name="tests of this detection")
        if beside:
            Xml.SubElement(case, "failure", message=_xml("; ".join(beside)))
        else:
            Xml.SubElement(case, "skipped", message="not enabled")


def _suite(
    root: Xml.Element, name: str, tests: int, failures: int = 0, *, errors: int = 0, skipped: int = 0
) -> Xml.Element:
    suite = Xml.SubElement(root, "testsuite", name=_xml(name))
    for count, value in (("tests", tests), ("failures", failures), ("errors", errors), ("skipped", skipped)):
        suite.set(count, str(value))
    return suite


def _xml(text: str) -> str:
    """Without the characters that no XML may hold."""
    return _NOT_IN_XML.sub("\ufffd", text)


def _line(text: str) -> str:
    """One line without control characters: what rules print must not steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t" else " " for letter in text)


def _coloured(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text
