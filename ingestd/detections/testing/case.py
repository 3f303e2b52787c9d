"""Tests that detections carry: one test, what came of it, and whether that is what was expected."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import MagicMock, patch

import msgspec

from ingestd.detections import failure, kv, returns
from ingestd.detections.datamodels import DataModel
from ingestd.detections.event import PantherEvent
from ingestd.detections.loading.spec import Detection
from ingestd.detections.runnable import CHECKS, Answer, Runnable, title_and_dedup
from ingestd.errors import RuleTimeout

LIMIT_SECS = 10.0
"""Of one test. A detection that needs longer would be cut off in the daemon long before."""
NOBODY = ["SKIP"]
MOST_PRINTED = 100_000
"""Characters of a rule's own output that are kept."""


class FunctionResult(msgspec.Struct, kw_only=True):
    """One function of a detection in one test."""

    name: str
    output: Any = None
    error: str = ""
    """What it raised, with file and line; empty if it returned."""


class Alert(msgspec.Struct, kw_only=True):
    """The alert that a detection makes of a sample, functions and fallbacks taken together."""

    title: str
    dedup: str
    severity: str
    context: dict[str, Any] = {}
    destinations: list[str] | None = None
    """None is default routing; `["SKIP"]` is nobody."""


class TestResult(msgspec.Struct, kw_only=True):
    """What came of one test."""

    __test__ = False  # not a test class of pytest's

    id: str
    name: str
    kind: str
    index: int
    """Position among the detection's tests; -1 for what happened beside them."""
    file: str
    expected: bool
    actual: bool | None = None
    """What the detection said; None if it failed."""
    passed: bool = False
    alert: Alert | None = None
    functions: list[FunctionResult] = []
    """What each function said, in the order in which they were asked."""
    errors: list[str] = []
    """Why the test failed, for people."""
    printed: str = ""
    """The rule's own output."""
    duration_seconds: float = 0.0


def blank(detection: Detection, test: Mapping[str, Any], index: int) -> TestResult:
    """The result of a test before it was run."""
    return TestResult(
        id=detection.id,
        name=str(test.get("Name", "")),
        kind=detection.kind,
        index=index,
        file=detection.tests_file or detection.file,
        expected=test.get("ExpectedResult") is True,
    )


def run_test(
    runnable: Runnable,
    test: Mapping[str, Any],
    index: int,
    data_models: Mapping[str, DataModel],
    destinations: tuple[str, ...] | None = None,
    *,
    capture: bool = True,
) -> TestResult:
    """Run one test: mocks in place, the rule's output caught (unless it is to go where it goes), an empty store for
    the rule's state. With the known `destinations` given, a detection that names another one fails."""
    detection = runnable.detection
    result = blank(detection, test, index)
    printed = _Printed()
    kv.connect(kv.MemoryStore())
    started = time.perf_counter()
    try:
        with _caught(printed if capture else None), _mocked(runnable, test.get("Mocks") or ()):
            _evaluate(runnable, sample_event(detection, test, data_models), result, strict=destinations is not None)
    except _NothingToMock as error:
        result.errors.append(f"cannot mock {error}: {detection.code} has no such name")
    finally:
        kv.connect(None)
    result.duration_seconds = time.perf_counter() - started
    result.printed = returns.plain(printed.getvalue())
    judge(detection, test, result, destinations)
    return result


def sample_event(detection: Detection, test: Mapping[str, Any], data_models: Mapping[str, DataModel]) -> Any:
    """What the detection gets to see of a test's sample: a policy a plain copy, everything else an event."""
    if detection.kind == "policy":
        return copy.deepcopy(test.get("Resource", {}))  # it could change what other tests share by an anchor
    sample = test.get("Log", {})
    model = data_models.get(str(sample.get("p_log_type"))) if detection.kind == "rule" else None
    return PantherEvent(sample, model)


class _NothingToMock(Exception):
    """A test mocks a name that the detection's module does not have."""


class _Printed(io.StringIO):
    """What a rule prints, up to a limit: one that never returns may print all the while."""

    def write(self, text: str, /) -> int:
        room = MOST_PRINTED - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


@contextlib.contextmanager
def _caught(printed: io.StringIO | None) -> Iterator[None]:
    if printed is None:
        yield
        return
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield


def _mocked(runnable: Runnable, mocks: Any) -> contextlib.AbstractContextManager[Any]:
    replaced = {mock["objectName"]: MagicMock(return_value=mock.get("returnValue")) for mock in mocks}
    if not replaced or runnable.module is None:
        return contextlib.nullcontext()
    missing = [name for name in replaced if not hasattr(runnable.module, name)]
    if missing:
        raise _NothingToMock(", ".join(map(repr, missing)))
    return patch.multiple(runnable.module, **replaced)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise RuleTimeout in what runs longer than this. In the main thread only."""

    def over(*_: object) -> None:
        raise RuleTimeout(f"the test took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, for one that catches it and goes on
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _evaluate(runnable: Runnable, event: Any, result: TestResult, *, strict: bool) -> None:
    """Ask everything, as a dry run does: the alert functions too when the detection said no."""
    detection = runnable.detection
    answer = _decide(runnable, event)
    result.actual = answer.value
    _record(result, detection.function, answer)
    if answer.error is not None:
        return
    said: dict[str, Any] = {}
    failed: dict[str, BaseException] = {}
    for function in CHECKS:
        asked = runnable.ask(function, event)
        if asked is None:
            continue
        if isinstance(asked.error, returns.UnknownDestinationError) and not strict:
            asked = Answer(None)
        _record(result, function, asked)
        if asked.error is None:
            said[function] = asked.value
        else:
            failed[function] = asked.error
    if answer.value is alerts_when(detection):
        result.alert = _alert(detection, said, failed)


def alerts_when(detection: Detection) -> bool:
    """What the detection says when it alerts: a policy says whether all is well."""
    return detection.kind != "policy"


def _alert(detection: Detection, said: dict[str, Any], failed: dict[str, BaseException]) -> Alert:
    title, dedup = title_and_dedup(detection, said, failed)
    destinations = said.get("destinations") or detection.destinations
    return Alert(
        title=title,
        dedup=dedup,
        severity=said.get("severity", detection.severity),
        context=json.loads(said.get("alert_context", "{}")),
        destinations=None if destinations is None else list(destinations),
    )


def _decide(runnable: Runnable, event: Any) -> Answer:
    name = runnable.detection.function
    try:
        if runnable.filter is not None and not runnable.filter(event):
            return Answer(not alerts_when(runnable.detection))
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
    failed = [function for function in result.functions if function.error]
    reasons = list(result.errors)
    if result.actual is not result.expected and not reasons:
        said = next((item.error for item in failed if item.name == detection.function), "") or result.actual
        reasons.append(f"expected {_verdict_of(detection)} to be {result.expected}, got {said}")
    if result.expected is alerts_when(detection):
        reasons += [f"{item.name}() raised {item.error}" for item in failed if item.name != detection.function]
        reasons += _unmet(test, result.alert)
        if destinations is not None and result.alert is not None:
            unknown = set(result.alert.destinations or ()) - {*destinations, *NOBODY}
            reasons += [f"destinations() names {name!r}, which does not exist" for name in sorted(unknown)]
    result.passed = not reasons
    result.errors = reasons


def _verdict_of(detection: Detection) -> str:
    return "the correlation" if detection.kind == "correlation_rule" else f"{detection.function}()"


def _unmet(test: Mapping[str, Any], alert: Alert | None) -> Iterator[str]:
    """Expectations beyond the verdict that the test states and the alert does not meet."""
    if alert is None:
        return  # that there is none is the failure
    for key, name, got in (
        ("ExpectedTitle", "title", alert.title),
        ("ExpectedDedup", "dedup", alert.dedup),
        ("ExpectedSeverity", "severity", alert.severity),
        ("ExpectedAlertContext", "alertContext", alert.context),
        ("ExpectedDestinations", "destinations", alert.destinations),
    ):
        if key not in test:
            continue
        wanted = test[key]
        if key == "ExpectedSeverity":
            wanted = str(wanted).upper()
        if key == "ExpectedDestinations":
            wanted = wanted or NOBODY
        if got != wanted:
            yield f"expected {name} {wanted!r}, got {got!r}"
