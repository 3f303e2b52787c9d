"""`ingestd debug`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output, public

if TYPE_CHECKING:
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.testing.case import TestResult

EXIT_FAILED = 1


def command(
    rule: Annotated[str, typer.Argument(envvar="INGESTD_RULE", help="Id of the detection.")],
    test: Annotated[str, typer.Argument(envvar="INGESTD_TEST", help="Name of its test, or its number from 1.")],
    path: Annotated[
        list[Path] | None,
        public.option("--path", "Folders or files of detections. [default: the working folder]", show_default=False),
    ] = None,
    stop: Annotated[
        bool, public.option("--stop", "Stop in the debugger before the rule's first line.", ours=True)
    ] = False,
    post_mortem: Annotated[
        bool, public.option("--post-mortem", "Stop in the debugger where a function raises.", ours=True)
    ] = False,
) -> None:
    """Run one test with what the rule prints and a debugger.

    `breakpoint()` anywhere in a rule or helper stops there. What a function raises is shown with its traceback.
    """
    from ingestd.cli.watched import Watched
    from ingestd.detections.testing import suite
    from ingestd.detections.testing.case import run_test

    detections = _load(public.existing(path or [Path()], "--path"), rule)
    detection = detections.detections[rule]
    index = _index([str(item.get("Name")) for item in detection.tests], test, rule)
    if detection.kind == "correlation_rule":
        result = suite.run_correlation_test(detections, detection, detection.tests[index], index)
    else:
        runnable = detections.runnables[rule]
        watched = Watched(runnable, stop=stop, post_mortem=post_mortem)
        result = run_test(runnable, detection.tests[index], index, detections.data_models, capture=False)
        if watched.left:
            output.note("the debugger was left: no verdict")
            raise typer.Exit(EXIT_FAILED)
    _print(result)
    raise typer.Exit(0 if result.passed else EXIT_FAILED)


def _load(paths: list[Path], rule: str) -> DetectionSet:
    """The one detection; what is wrong with other files does not matter here."""
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.loading.items import did_you_mean
    from ingestd.detections.options import Options

    names = tuple(str(path) for path in paths)
    with redirect_stdout(sys.stderr):
        loaded = DetectionSet.examine(Options(paths=names, only_ids=(rule,), keep_tests=True))
    if rule not in loaded.detections:
        hint = did_you_mean(rule, loaded.detections)
        message = f"there is no detection {rule!r} under {', '.join(names)}" + (f"; {hint}" if hint else "")
        raise typer.BadParameter(message, param_hint="RULE")
    detection = loaded.detections[rule]
    is_loaded = rule in loaded.runnables or rule in loaded.correlations
    own = {detection.file, detection.tests_file, detection.code}
    problems = [problem for problem in loaded.problems if not is_loaded or problem.file in own]
    for problem in problems:
        output.note(str(problem))
    if problems:
        raise typer.Exit(EXIT_FAILED)
    return loaded


def _index(names: list[str], wanted: str, rule: str) -> int:
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and 0 < int(wanted) <= len(names):
        return int(wanted) - 1
    listed = "".join(f"\n  {number}  {name}" for number, name in enumerate(names, start=1)) or " none"
    raise typer.BadParameter(f"{rule} has no test {wanted!r}; it has:{listed}", param_hint="TEST")


def _print(result: TestResult) -> None:
    from ingestd.detections.testing.suite import line_of

    for function in result.functions:
        said = f"raised {function.error}" if function.error else f"gave {function.output!r}"
        print(output.plain(f"{function.name}() {said}"))
    print(output.plain(f"{'pass' if result.passed else 'FAIL'}  {result.name}  {result.file}:{line_of(result)}"))
    for error in result.errors:
        print(output.plain(f"      {error}"))
