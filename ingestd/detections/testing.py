"""Running the tests that detections carry: all of them, in several processes, with a report for machines.

Needs nothing but the files: no store, no network, no warehouse. Every kind of detection is tested, those written
in YAML and correlation rules too.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from ingestd.detections import correlation_format, yaml12
from ingestd.detections.correlation import find
from ingestd.detections.load import DetectionSet
from ingestd.detections.options import Options
from ingestd.detections.spec import Detection
from ingestd.detections.testcase import FunctionResult, TestResult, judge, run_test


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to run tests."""

    ids: tuple[str, ...] | None = None
    """Only these detections."""
    names: tuple[str, ...] = ()
    """Only tests of these names."""
    destinations: tuple[str, ...] | None = None
    """The destinations that exist: a detection that names another fails its test."""
    minimum: int = 0
    """A detection with fewer tests fails; above 1 it also needs one of each expectation."""
    jobs: int = 1
    shuffle_seed: int | None = None


class Report(msgspec.Struct, kw_only=True):
    """What came of all tests."""

    results: list[TestResult]
    failed: dict[str, list[str]]
    """Id to reasons: tests that failed, or too few of them."""
    untested: list[str]
    """Ids of detections without any test that was run."""
    duration_seconds: float

    @property
    def passed(self) -> bool:
        """Whether something was tested and nothing failed."""
        return bool(self.results) and not self.failed


_inherited: DetectionSet | None = None


def run_all(detections: DetectionSet, settings: Settings) -> Report:
    """Run the tests of a set that was loaded with `include_disabled` and `keep_tests`."""
    started = time.perf_counter()
    chosen = sorted(detections.detections if settings.ids is None else settings.ids)
    if settings.shuffle_seed is not None:
        random.Random(settings.shuffle_seed).shuffle(chosen)  # noqa: S311 - an order, not a secret
    results = list(_run(detections, chosen, settings))
    failed: dict[str, list[str]] = {}
    for result in results:
        if not result.passed:
            failed.setdefault(result.id, []).extend(f"{result.name}: {reason}" for reason in result.errors)
    for name in chosen:
        reason = _too_few(detections.detections[name], settings.minimum)
        if reason:
            failed.setdefault(name, []).append(reason)
    tested = {result.id for result in results}
    return Report(
        results=sorted(results, key=lambda result: (result.id, result.index)),
        failed=failed,
        untested=[name for name in chosen if name not in tested],
        duration_seconds=time.perf_counter() - started,
    )


def _run(detections: DetectionSet, ids: list[str], settings: Settings) -> Iterator[TestResult]:
    global _inherited  # noqa: PLW0603 - forked children find the loaded set here: code cannot be sent
    jobs = min(settings.jobs, len(ids) or 1)
    if jobs <= 1:
        yield from _run_some(detections, ids, settings)
        return
    _inherited = detections
    gc.freeze()  # collecting would touch, and so copy, what the children share
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            shares = [ids[start : start + 40] for start in range(0, len(ids), 40)]
            for results in pool.map(_run_share, shares, [settings] * len(shares)):
                yield from msgspec.msgpack.decode(results, type=list[TestResult])
    finally:
        gc.unfreeze()
        _inherited = None


def _run_share(ids: list[str], settings: Settings) -> bytes:
    """In a child: plain bytes go back, since what rules return may not be picklable."""
    assert _inherited is not None
    return msgspec.msgpack.encode(list(_run_some(_inherited, ids, settings)))


def _run_some(detections: DetectionSet, ids: Iterable[str], settings: Settings) -> Iterator[TestResult]:
    for name in ids:
        detection = detections.detections[name]
        for index, test in enumerate(detection.tests):
            if not isinstance(test, dict) or (settings.names and str(test.get("Name")) not in settings.names):
                continue
            if detection.kind == "correlation_rule":
                yield run_correlation_test(detections, detection, test, index)
            elif name in detections.runnables:
                yield run_test(detections.runnables[name], test, index, detections.data_models, settings.destinations)


def run_correlation_test(
    detections: DetectionSet, detection: Detection, test: dict[str, Any], index: int
) -> TestResult:
    """Run one test of a correlation rule on the sightings that it describes."""
    result = TestResult(
        id=detection.id,
        name=str(test.get("Name", "")),
        kind=detection.kind,
        index=index,
        file=detection.file,
        expected=test.get("ExpectedResult") is True,
    )
    started = time.perf_counter()
    try:
        sightings = correlation_format.sightings_of(test.get("RuleOutputs"))
        correlations = detections.correlations.get(detection.id, ())
        result.actual = any(find(correlation, sightings) is not None for correlation in correlations)
        result.functions.append(FunctionResult(name="correlation", output=result.actual))
    except (ValueError, TypeError, AttributeError) as error:
        result.errors.append(f"RuleOutputs cannot be read: {error}")
    judge(detection, test, result)
    result.duration_seconds = time.perf_counter() - started
    return result


def line_of(result: TestResult) -> int:
    """The line of a result's test in its file; 1 if the test comes from elsewhere."""
    lines = _lines(result.file)
    return lines[result.index] if result.index < len(lines) else 1


@lru_cache(maxsize=64)
def _lines(file: str) -> list[int]:
    return yaml12.lines_of(Path(file).read_bytes(), "Tests")


def load_for_tests(paths: tuple[str, ...]) -> DetectionSet:
    """Everything under `paths`, enabled or not, with its tests; ConfigError with all problems."""
    return DetectionSet.load(Options(paths=paths, include_disabled=True, keep_tests=True))


def _too_few(detection: Detection, minimum: int) -> str:
    tests = [test for test in detection.tests if isinstance(test, dict)]
    if len(tests) < minimum:
        return f"has {len(tests)} tests, {minimum} are wanted"
    expectations = {test.get("ExpectedResult") for test in tests}
    if minimum > 1 and len(expectations) < 2:
        return "needs a test that expects true and one that expects false"
    return ""
