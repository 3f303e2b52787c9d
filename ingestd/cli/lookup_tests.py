"""Tests that lookup tables carry: a sample, and what the table is to know of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.loading.items import Item
from ingestd.detections.testing.case import FunctionResult, TestResult
from ingestd.detections.testing.suite import Report, Settings
from ingestd.enrichment.tables import Tables, TableSpec, data_file

KIND = "lookup_table"
MOST_BYTES = 1 << 30


def add(
    report: Report, detections: DetectionSet, names: Sequence[str], folders: Sequence[Path], settings: Settings
) -> None:
    """Run the tests of these tables and add what came of them. Data is looked for beside a table's item and in
    `folders`; data that cannot be read is a problem, with tests or without."""
    specs = {name: msgspec.convert(msgspec.to_builtins(detections.lookup_tables[name]), TableSpec) for name in names}
    tables = Tables.load(list(specs.values()), folders, MOST_BYTES, _kinds)
    for name in names:
        item = detections.items[name]
        tests = [test for test in item.data.get("Tests") or () if isinstance(test, dict)]
        if data_file(specs[name], folders) is not None and name in tables.left_out:
            report.invalid.append(item.problem(tables.left_out[name], "Filename"))
        if settings.skip_disabled and item.data.get("Enabled") is not True:
            report.skipped.append(name)
            continue
        for index, test in enumerate(tests):
            if not settings.names or str(test.get("Name")) in settings.names:
                _add(report, _run(tables, item, test, index))


def _add(report: Report, result: TestResult) -> None:
    report.results.append(result)
    report.duration_seconds += result.duration_seconds
    if not result.passed:
        report.failed.setdefault(result.id, []).extend(f"{result.name}: {reason}" for reason in result.errors)


def _run(tables: Tables, item: Item, test: Mapping[str, Any], index: int) -> TestResult:
    started = time.perf_counter()
    result = TestResult(
        id=item.id,
        name=str(test.get("Name", "")),
        kind=KIND,
        index=index,
        file=str(item.file),
        expected=test.get("ExpectedResult") is True,
    )
    if item.id in tables.left_out:
        result.errors.append(tables.left_out[item.id])
        return result
    event = {**test["Log"], "p_log_type": str(test["LogType"])}
    event.pop("p_enrichment", None)
    tables.enrich(event)
    found = event.get("p_enrichment", {}).get(item.id, {})
    result.actual = bool(found)
    result.functions = [
        FunctionResult(name="lookup", output=result.actual),
        FunctionResult(name="found", output=found),
    ]
    if result.actual is not result.expected:
        what = "something to be found" if result.expected else "nothing to be found"
        result.errors.append(f"expected {what}, got {found or 'nothing'}")
    elif result.expected:
        wanted = test.get("ExpectedEnrichment") or {}
        result.errors += [
            f"expected {selector} to have {row!r}, got {found.get(selector)!r}"
            for selector, row in wanted.items()
            if not _has(found.get(selector), row)
        ]
    result.passed = not result.errors
    result.duration_seconds = time.perf_counter() - started
    return result


def _has(found: Any, wanted: Any) -> bool:
    """Whether a row has at least the fields wanted; of a list of rows each has those of its place."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and _has(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_has, found, wanted))
    return bool(found == wanted)


def _kinds(schema: str) -> dict[str, str]:
    """Field → kind, of the built-in schema that describes a table's rows."""
    if not schema:
        return {}
    from ingestd.schemas.registry import Registry

    registry = Registry.load([], builtin=True)
    if schema not in registry.names:
        return {}
    return {field.name: field.value.kind for field in registry.schema(schema).fields}
