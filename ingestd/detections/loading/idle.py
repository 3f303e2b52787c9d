"""Detections that would never run, though somebody wrote them to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ingestd.detections.loading import textfile
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.loading.discover import yaml_files
from ingestd.detections.loading.items import ID_KEYS
from ingestd.detections.loading.spec import Detection
from ingestd.errors import Problem

_ITEM = re.compile(rb"^(?:%s)\s*:" % b"|".join(sorted({key.encode() for key in ID_KEYS.values()})), re.MULTILINE)
_TYPE = re.compile(rb"^(?:\xef\xbb\xbf)?[\"']?AnalysisType[\"']?\s*:", re.MULTILINE)
_SELECTOR = re.compile(r"(?:\$\.)?[^$\[\]*?]+")
_DECIDES = re.compile(rb"^def (?:rule|policy)\(", re.MULTILINE)


def find(detections: DetectionSet, paths: tuple[str, ...]) -> list[Problem]:
    """What in a set, loaded from `paths` with `keep_tests` and `include_disabled`, has no chance to run: each with
    its file and line. Log types that nobody knows are the loader's to tell."""
    found = [problem for name in detections.ids for problem in _idle(detections, name)]
    return [*found, *_selectors(detections), *_without_type(detections, paths), *_unnamed_code(detections)]


def _idle(detections: DetectionSet, name: str) -> Iterator[Problem]:
    detection = detections.detections[name]
    item = detections.items.get(name)
    if item is None or not detection.enabled:
        return
    if detection.kind == "rule" and not detection.log_types:
        yield item.problem("never runs: it names no log type", "LogTypes")
    elif detection.kind == "scheduled_rule" and detection.log_types:
        reasons = [_query(detections, query) for query in detection.log_types]
        if all(reasons):
            yield item.problem(f"never runs: {'; '.join(reasons)}", "ScheduledQueries")
    elif detection.kind == "correlation_rule":
        for reason in _steps(detections, detection):
            yield item.problem(f"never finds anything: {reason}", "Detection")


def _query(detections: DetectionSet, name: str) -> str:
    """Why a query does not run; empty if it does."""
    query = detections.items.get(name)
    if query is None or query.kind not in ("scheduled_query", "saved_query"):
        return f"there is no query {name!r}"
    if query.kind == "saved_query":
        return f"the query {name!r} is saved only, and has no schedule"
    return "" if query.data.get("Enabled") is True else f"the query {name!r} is not enabled"


def _steps(detections: DetectionSet, detection: Detection) -> Iterator[str]:
    for correlation in detections.correlations.get(detection.id, ()):
        for step in correlation.steps:
            waited = detections.detections.get(step.detection_id)
            if waited is not None and not waited.enabled and not step.absent:
                yield f"step {step.id!r} waits for {waited.id!r}, which is not enabled"


def _selectors(detections: DetectionSet) -> Iterator[Problem]:
    """Selectors of lookup tables that name no field: an index or a wildcard is none."""
    for name, table in sorted(detections.lookup_tables.items()):
        odd = sorted({one for several in table.selectors.values() for one in several if not _SELECTOR.fullmatch(one)})
        if odd and name in detections.items:
            message = f"never finds anything by {', '.join(map(repr, odd))}"
            hint = "a selector is the name of a field, or $.a.b for one further inside"
            yield detections.items[name].problem(message, "LogTypeMap", "AssociatedLogTypes", hint=hint)


def _without_type(detections: DetectionSet, paths: tuple[str, ...]) -> Iterator[Problem]:
    """Files that look like items and say no AnalysisType, so that nobody reads them."""
    told = {problem.file for problem in detections.problems}
    for file in yaml_files(paths):
        if str(file) in told:
            continue
        try:
            text = textfile.read(file)
        except OSError:
            continue  # told by whoever loads it
        looks = _ITEM.search(text)
        if looks and not _TYPE.search(text):
            line = text.count(b"\n", 0, looks.start()) + 1
            yield Problem("is passed over: it has no AnalysisType", file=str(file), line=line)


def _unnamed_code(detections: DetectionSet) -> Iterator[Problem]:
    """Python beside detections that looks like one, and that no YAML names; of a YAML in which something is wrong,
    that is told."""
    named = {Path(str(module.__file__)) for module in detections.loaded_modules}
    named |= {item.file.parent / str(item.data.get("Filename")) for item in detections.items.values()}
    named |= {Path(problem.file).with_suffix(".py") for problem in detections.problems if problem.file}
    folders = {Path(detection.file).parent for detection in detections.detections.values()}
    for folder in sorted(folders):
        for file in sorted(folder.glob("*.py")):
            if file in named:
                continue
            try:
                text = textfile.read(file)
            except OSError:
                continue  # not one that could be named either
            decides = _DECIDES.search(text)
            if decides:
                line = text.count(b"\n", 0, decides.start()) + 1
                yield Problem("never runs: no YAML names this file", file=str(file), line=line)
