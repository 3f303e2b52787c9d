"""Running the tests that detections carry: all of them, in several processes, with a report for machines.

Needs nothing but the files: no store, no network, no warehouse. Every kind of detection is tested, those written
in YAML and correlation rules too.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from ingestd.detections.correlation import syntax
from ingestd.detections.correlation.findings import find
from ingestd.detections.loading import yaml12
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.loading.spec import Detection
from ingestd.detections.options import Options
from ingestd.detections.testing import forked
from ingestd.detections.testing.case import (
    LIMIT_SECS,
    Alert,
    FunctionResult,
    TestResult,
    blank,
    judge,
    run_test,
    time_limit,
)
from ingestd.detections.testing.coverage import Coverage
from ingestd.errors import Problem, RuleTimeout


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to run tests."""

    ids: tuple[str, ...] | None = None
    """Only these detections."""
    names: tuple[str, ...] = ()
    """Only tests of these names."""
    skip_disabled: bool = False
    """Leave out the tests of what is not enabled."""
    destinations: tuple[str, ...] | None = None
    """The destinations that exist: a detection that names another fails its test."""
    minimum: int = 0
    """A detection with fewer tests fails; above 1 it also needs one of each expectation."""
    jobs: int = 0
    """Children to run the tests in; 0 is in this process, which a rule can then take along."""
    shuffle_seed: int | None = None


class Report(msgspec.Struct, kw_only=True):
    """What came of all tests."""

    results: list[TestResult]
    failed: dict[str, list[str]]
    """Id to reasons: tests that failed, or too few of them."""
    skipped: list[str]
    """Ids of detections that are not enabled, where those were to be skipped."""
    untested: list[str]
    """Ids of detections without any test that was run."""
    invalid: list[Problem]
    """What is wrong with the files: nothing of theirs was tested."""
    duration_seconds: float
    covered: dict[str, list[int]] = {}
    """With coverage measured: lines of the detections' Python files that ran."""

    @property
    def passed(self) -> bool:
        """Whether something was tested and nothing failed."""
        return bool(self.results) and not self.failed and not self.invalid

    @property
    def kinds(self) -> dict[str, int]:
        """How many tests of each kind of detection were run."""
        return dict(sorted(Counter(result.kind for result in self.results if result.index >= 0).items()))


def load_for_tests(paths: tuple[str, ...]) -> DetectionSet:
    """Everything under `paths`, enabled or not, with its tests; ConfigError with all problems."""
    return DetectionSet.load(Options(paths=paths, include_disabled=True, keep_tests=True))


def run_all(detections: DetectionSet, settings: Settings, coverage: Coverage | None = None) -> Report:
    """Run the tests of a set that was loaded, or examined, with `include_disabled` and `keep_tests`."""
    started = time.perf_counter()
    chosen = _order(detections, settings)
    skipped = [name for name in chosen if settings.skip_disabled and not detections.detections[name].enabled]
    testable = [name for name in chosen if name not in set(skipped) and _is_whole(detections, name)]
    run = _Run(detections, settings, coverage)
    results = sorted(run.all(testable), key=lambda result: (result.id, result.index))
    failed: dict[str, list[str]] = {}
    for result in results:
        if not result.passed:
            failed.setdefault(result.id, []).extend(f"{result.name}: {reason}" for reason in result.errors)
    for name in sorted(testable):
        reason = _too_few(detections.detections[name], settings.minimum)
        if reason:
            detection = detections.detections[name]
            file = detection.tests_file or detection.file
            line = yaml12.line_of(Path(file).read_bytes(), ("Tests",))
            failed.setdefault(name, []).append(f"{file}:{line}: {reason}")
    tested = {result.id for result in results}
    return Report(
        results=results,
        failed=failed,
        skipped=sorted(skipped),
        untested=sorted(name for name in testable if name not in tested),
        invalid=detections.problems,
        duration_seconds=time.perf_counter() - started,
        covered=run.covered,
    )


def _order(detections: DetectionSet, settings: Settings) -> list[str]:
    chosen = sorted(detections.detections if settings.ids is None else settings.ids)
    if settings.shuffle_seed is not None:
        random.Random(settings.shuffle_seed).shuffle(chosen)  # noqa: S311 - an order, not a secret
    return chosen


def _is_whole(detections: DetectionSet, name: str) -> bool:
    """Whether a detection was loaded and nothing is wrong with its files: what is wrong is reported."""
    detection = detections.detections[name]
    broken = {problem.file for problem in detections.problems}
    loaded = name in detections.runnables or name in detections.correlations
    return loaded and not broken & {detection.file, detection.code}


class _Run:
    """The tests of some detections, on the way."""

    def __init__(self, detections: DetectionSet, settings: Settings, coverage: Coverage | None) -> None:
        self.detections = detections
        self.settings = settings
        self.coverage = coverage
        self.covered: dict[str, list[int]] = {}

    def all(self, ids: Sequence[str]) -> Iterator[TestResult]:
        """Results in no particular order."""
        if self.settings.jobs:
            jobs = min(self.settings.jobs, len(ids) or 1)
            share = max(1, min(20, len(ids) // (4 * jobs)))
            packed = forked.run(ids, self._work, self._lost, jobs=jobs, share=share)
        else:
            packed = map(self._work, ids)
        for answer in packed:
            results, file, lines = msgspec.msgpack.decode(answer, type=tuple[list[TestResult], str, list[int]])
            if lines:  # of a file that several detections may share
                self.covered[file] = sorted({*self.covered.get(file, ()), *lines})
            yield from results

    def _work(self, name: str) -> bytes:
        """In a child: plain bytes go back, since what rules return may not be picklable."""
        code = self.detections.detections[name].code
        if self.coverage is None or code is None:
            return msgspec.msgpack.encode((list(self._of(name)), "", ()))
        with self.coverage:
            results = list(self._of(name))
        return msgspec.msgpack.encode((results, code, self.coverage.lines(code)))

    def _lost(self, name: str, how: str) -> bytes:
        result = _beside(self.detections.detections[name], f"{name} {how}")
        return msgspec.msgpack.encode(([result], "", ()))

    def _of(self, name: str) -> Iterator[TestResult]:
        settings = self.settings
        detection = self.detections.detections[name]
        for index, test in enumerate(detection.tests):
            if settings.names and str(test.get("Name")) not in settings.names:
                continue
            if detection.kind == "correlation_rule":
                yield run_correlation_test(self.detections, detection, test, index)
            else:
                yield self._run(detection, test, index)

    def _run(self, detection: Detection, test: dict[str, Any], index: int) -> TestResult:
        loaded = self.detections
        runnable = loaded.runnables[detection.id]
        try:
            with time_limit(LIMIT_SECS) if self.settings.jobs else nullcontext():
                return run_test(runnable, test, index, loaded.data_models, self.settings.destinations)
        except RuleTimeout as error:  # between two functions: inside of one it is that one's error
            result = blank(detection, test, index)
            return msgspec.structs.replace(result, errors=[str(error)])


def _beside(detection: Detection, error: str) -> TestResult:
    """What happened to a detection beside its tests, as a result that failed."""
    result = blank(detection, {}, -1)
    return msgspec.structs.replace(result, name="(all tests)", errors=[error])


def run_correlation_test(
    detections: DetectionSet, detection: Detection, test: dict[str, Any], index: int
) -> TestResult:
    """Run one test of a correlation rule on the sightings that it describes."""
    result = blank(detection, test, index)
    started = time.perf_counter()
    sightings = syntax.sightings_of(test["RuleOutputs"])
    correlations = detections.correlations[detection.id]
    result.actual = any(find(correlation, sightings) is not None for correlation in correlations)
    result.functions.append(FunctionResult(name="correlation", output=result.actual))
    if result.actual:
        title = detection.display_name or detection.id
        result.alert = Alert(title=title, dedup=title, severity=detection.severity)
    judge(detection, test, result)
    result.duration_seconds = time.perf_counter() - started
    return result


def line_of(result: TestResult) -> int:
    """The line of a result's test in its file; 1 if it is no test's."""
    lines = _lines(result.file)
    return lines[result.index] if 0 <= result.index < len(lines) else 1


@lru_cache(maxsize=64)
def _lines(file: str) -> list[int]:
    return yaml12.lines_of(Path(file).read_bytes(), "Tests")


def _too_few(detection: Detection, minimum: int) -> str:
    if len(detection.tests) < minimum:
        return f"has {len(detection.tests) or 'no'} test{'s' * (len(detection.tests) != 1)}, {minimum} are wanted"
    expectations = {test.get("ExpectedResult") for test in detection.tests}
    if minimum > 1 and len(expectations) < 2:
        return "needs a test that expects true and one that expects false"
    return ""
