"""What a test in a detection's YAML may say: mistakes in it would make the test say less than its author thinks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from reprlib import repr as brief
from typing import Any

from ingestd.detections.correlation.syntax import seconds
from ingestd.detections.loading.items import MOST_PROBLEMS, Item, did_you_mean
from ingestd.errors import Problem

_EXPECTATIONS = {
    "ExpectedTitle": str,
    "ExpectedDedup": str,
    "ExpectedSeverity": str,
    "ExpectedAlertContext": dict,
    "ExpectedDestinations": list,
}
_INPUTS = {"policy": "Resource", "correlation_rule": "RuleOutputs"}
_EVERY = {"Name": str, "ExpectedResult": bool, "Mocks": list, "LogType": str, "ResourceType": str, **_EXPECTATIONS}
_OF_TABLE = {"Name": str, "ExpectedResult": bool, "LogType": str, "ExpectedEnrichment": dict}
_TYPE_NAMES = {str: "text", bool: "true or false", list: "a list", dict: "a mapping"}


def check_tests(item: Item, tests: Any) -> Iterator[Problem]:
    """What is wrong with the form of a detection's or a lookup table's tests, each with its line."""
    if tests is not None:
        yield from islice(_check(item, tests), MOST_PROBLEMS)


def _check(item: Item, tests: Any) -> Iterator[Problem]:
    if not isinstance(tests, list):
        return  # reported with the keys
    source = _INPUTS.get(item.kind, "Log")
    keys = {**_EVERY, source: list if source == "RuleOutputs" else dict}
    required = ["Name", "ExpectedResult", source]
    if item.kind == "lookup_table":
        keys = {**_OF_TABLE, source: dict}
        required.append("LogType")
    for index, test in enumerate(tests):
        if not isinstance(test, dict):
            yield item.problem(f"a test must be a mapping, not {brief(test)}", "Tests", index)
            continue
        for key in required:
            if key not in test:
                yield item.problem(f"{key} is missing", "Tests", index)
        for key, value in test.items():
            yield from _check_key(item, index, str(key), value, keys)


def _check_key(item: Item, index: int, key: str, value: Any, keys: dict[str, type]) -> Iterator[Problem]:
    expected = keys.get(key)
    if expected is None:
        yield item.problem(
            f"unknown key for a test of a {item.kind}", "Tests", index, key, hint=did_you_mean(key, keys)
        )
    elif key == "Name" and isinstance(value, int | float):
        return  # what YAML makes of a name of digits
    elif not isinstance(value, expected) and not (value is None and key == "Mocks"):
        yield item.problem(f"must be {_TYPE_NAMES[expected]}, not {brief(value)}", "Tests", index, key)
    elif key == "Mocks":
        yield from _check_mocks(item, index, value)
    elif key == "RuleOutputs":
        yield from _check_outputs(item, index, value)


def _check_mocks(item: Item, index: int, mocks: Any) -> Iterator[Problem]:
    for number, mock in enumerate(mocks or ()):
        where = ("Tests", index, "Mocks", number)
        if not isinstance(mock, dict) or not isinstance(mock.get("objectName"), str):
            yield item.problem("a mock needs objectName, and returnValue", *where)
            continue
        for key in mock.keys() - {"objectName", "returnValue"}:
            hint = did_you_mean(str(key), ("objectName", "returnValue"))
            yield item.problem("unknown key for a mock", *where, str(key), hint=hint)


def _check_outputs(item: Item, index: int, outputs: Any) -> Iterator[Problem]:
    """What a test of a correlation rule says that steps have seen."""
    steps = _step_ids(item.data.get("Detection"))
    for number, output in enumerate(outputs):
        where = ("Tests", index, "RuleOutputs", number)
        if not isinstance(output, dict) or "ID" not in output:
            yield item.problem("needs ID of a step, and Matches", *where)
            continue
        if str(output["ID"]) not in steps:
            hint = did_you_mean(str(output["ID"]), steps)
            yield item.problem(f"no step has the ID {brief(output['ID'])}", *where, "ID", hint=hint)
        fields = output.get("Matches") or {}
        if not isinstance(fields, dict):
            yield item.problem(f"must be a mapping of fields, not {brief(fields)}", *where, "Matches")
            continue
        for field, values in fields.items():
            if wrong := _wrong_matches(values):
                yield item.problem(wrong, *where, "Matches", str(field))


def _wrong_matches(values: Any) -> str:
    if not isinstance(values, dict):
        return f"must be a mapping of values to the times of their matches, not {brief(values)}"
    for value, times in values.items():
        if not isinstance(times, list):
            return f"{brief(value)} needs a list of times, not {brief(times)}"
        for time in times:
            try:
                seconds(time)
            except ValueError:
                return f"{brief(time)} is no time: give minutes, or text such as '2026-01-02T03:04:05Z'"
    return ""


def _step_ids(detection: Any) -> set[str]:
    """IDs of all steps, whether or not the rest is right."""
    found = set()
    for entry in detection if isinstance(detection, list) else []:
        for kind in ("Group", "Sequence"):
            steps = entry.get(kind) if isinstance(entry, dict) else None
            for step in steps if isinstance(steps, list) else []:
                if isinstance(step, dict):
                    found.add(str(step.get("ID") or step.get("RuleID")))
    return found
