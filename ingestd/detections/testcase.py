"""Tests that detections carry: one test, what came of it, and whether that is what was expected."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Mapping
from typing import Any
from unittest.mock import MagicMock, patch

import msgspec

from ingestd.detections import failure, kv, returns
from ingestd.detections.datamodels import DataModel
from ingestd.detections.event import PantherEvent
from ingestd.detections.runnable import CHECKS, Answer, Runnable
from ingestd.detections.spec import Detection

_FOR_PEOPLE = {"alert_context": "alertContext"}
_EXPECTATIONS = {
    "ExpectedTitle": "title",
    "ExpectedDedup": "dedup",
    "ExpectedSeverity": "severity",
    "ExpectedAlertContext": "alert_context",
    "ExpectedDestinations": "destinations",
}


class FunctionResult(msgspec.Struct, kw_only=True):
    """One function of a detection in one test."""

    name: str
    output: Any = None
    error: str = ""
    """What it raised, with file and line; empty if it returned."""


class TestResult(msgspec.Struct, kw_only=True):
    """What came of one test."""

    __test__ = False  # not a test class of pytest's

    id: str
    name: str
    kind: str
    index: int
    """Position among the detection's tests."""
    file: str
    expected: bool
    actual: bool | None = None
    """What the detection said; None if it failed."""
    passed: bool = False
    functions: list[FunctionResult] = []
    errors: list[str] = []
    """Why the test failed, for people; also what functions raised in a test that passed all the same."""
    printed: str = ""
    """The rule's own output."""
    line: int = 0
    duration_seconds: float = 0.0

    def output(self, name: str) -> Any:
        """What function `name` returned; None if it was not asked or failed."""
        return next((function.output for function in self.functions if function.name == name), None)


def run_test(
    runnable: Runnable,
    test: Mapping[str, Any],
    index: int,
    data_models: Mapping[str, DataModel],
    destinations: tuple[str, ...] | None = None,
) -> TestResult:
    """Run one test: mocks in place, the rule's output caught, an empty store for the rule's state. With the known
    `destinations` given, a detection that names another one fails."""
    detection = runnable.detection
    result = TestResult(
        id=detection.id,
        name=str(test.get("Name", "")),
        kind=detection.kind,
        index=index,
        file=detection.file,
        expected=test.get("ExpectedResult") is True,
    )
    sample = test.get("Resource", test.get("Log", {}))
    printed = io.StringIO()
    kv.connect(kv.MemoryStore())
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed), _mocked(runnable, test.get("Mocks") or ()):
            _evaluate(runnable, _event(detection, sample, data_models), result)
    except AttributeError as error:  # a mock for a name that the module does not have
        result.errors.append(f"cannot mock: {error}")
    finally:
        kv.connect(None)
    result.duration_seconds = time.perf_counter() - started
    result.printed = printed.getvalue()
    judge(detection, test, result, destinations)
    return result


def _event(detection: Detection, sample: Any, data_models: Mapping[str, DataModel]) -> Any:
    if detection.kind == "policy":
        return sample
    model = data_models.get(str(sample.get("p_log_type"))) if detection.kind == "rule" else None
    return PantherEvent(sample, model)


def _mocked(runnable: Runnable, mocks: Any) -> contextlib.AbstractContextManager[Any]:
    replaced = {mock["objectName"]: MagicMock(return_value=mock.get("returnValue")) for mock in mocks}
    if not replaced or runnable.module is None:
        return contextlib.nullcontext()
    return patch.multiple(runnable.module, **replaced)


def _evaluate(runnable: Runnable, event: Any, result: TestResult) -> None:
    """Ask everything, as a dry run does: the alert functions too when the detection said no."""
    name = runnable.detection.function
    answer = _decide(runnable, event)
    result.actual = answer.value
    _record(result, name, answer)
    if answer.error is not None:
        return
    for function in CHECKS:
        asked = runnable.ask(function, event)
        if asked is not None:
            _record(result, function, asked)


def _decide(runnable: Runnable, event: Any) -> Answer:
    name = runnable.detection.function
    try:
        if runnable.filter is not None and not runnable.filter(event):
            return Answer(False)
        said = runnable.decide(event)
        return Answer(returns.verdict(runnable.id, name, said))
    except BaseException as error:  # noqa: BLE001 - a rule may raise anything; the test reports it
        return Answer(None, error)


def _record(result: TestResult, name: str, answer: Answer) -> None:
    error = ""
    if answer.error is not None:
        error = f"{returns.class_name(answer.error)}: {failure.message(answer.error)}"
        failure.forget(answer.error)
    result.functions.append(FunctionResult(name=name, output=answer.value, error=error))


def judge(
    detection: Detection,
    test: Mapping[str, Any],
    result: TestResult,
    destinations: tuple[str, ...] | None = None,
) -> None:
    """Decide whether the test passed, and why not. An expected alert needs every function to succeed; where none is
    expected only the verdict counts."""
    alert_when = detection.kind != "policy"
    failed = [function for function in result.functions if function.error]
    reasons = list(result.errors)
    if result.actual is not result.expected and not reasons:
        reasons.append(f"expected {detection.function}() to be {result.expected}, got {_said(result, detection)}")
    if result.expected is alert_when:
        reasons += [f"{function.name}() raised {function.error}" for function in failed]
        reasons += _unmet(test, result)
        for name in result.output("destinations") or ():
            if destinations is not None and name not in (*destinations, "SKIP"):
                reasons.append(f"destinations() names {name!r}, which does not exist")
    result.passed = not reasons
    result.errors = reasons


def _said(result: TestResult, detection: Detection) -> str:
    error = next((item.error for item in result.functions if item.name == detection.function and item.error), "")
    return error or str(result.actual)


def _unmet(test: Mapping[str, Any], result: TestResult) -> list[str]:
    """Expectations beyond the verdict that the test states and the detection does not meet."""
    reasons = []
    for key, name in _EXPECTATIONS.items():
        if key not in test:
            continue
        got = result.output(name)
        if name == "alert_context" and isinstance(got, str):
            got = json.loads(got)
        if name == "destinations" and got is not None:
            got = list(got)
        wanted = test[key]
        if name == "severity" and isinstance(wanted, str):
            wanted = wanted.upper()
        if got != wanted:
            reasons.append(f"expected {_FOR_PEOPLE.get(name, name)} {wanted!r}, got {got!r}")
    return reasons
