"""The YAML items of the public format: which keys each type of item has, and what may stand under them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import msgspec

from ingestd.detections.loading import yaml12
from ingestd.errors import Problem

_COMMON = {
    "AnalysisType": str, "Enabled": bool, "DisplayName": str, "Description": str, "Reference": str, "Runbook": str,
    "Tags": list, "Status": str, "CreatedBy": str, "BaseVersion": int,
}  # fmt: skip
_ALERTING = _COMMON | {
    "Severity": str, "DedupPeriodMinutes": int, "Threshold": int, "OutputIds": list, "Reports": dict,
    "SummaryAttributes": list, "Tests": list, "CreateAlert": bool, "OnlyUseBaseRiskScore": bool,
    "InlineFilters": list, "ActionDelaySeconds": int,
}  # fmt: skip
_RULE = _ALERTING | {
    "RuleID": str, "Filename": str, "Detection": list, "AlertTitle": str, "AlertContext": list, "GroupBy": list,
    "DynamicSeverities": list, "BaseDetection": str,
}  # fmt: skip

_QUERY = _COMMON | {
    "QueryName": str, "Query": str, "SnowflakeQuery": str, "AthenaQuery": str, "Lookback": bool,
    "LookbackWindowSeconds": int,
}  # fmt: skip

KEYS: dict[str, dict[str, type]] = {
    "rule": _RULE | {"LogTypes": list},
    "scheduled_rule": _RULE | {"ScheduledQueries": list},
    "correlation_rule": _RULE,
    "policy": _ALERTING | {
        "PolicyID": str, "Filename": str, "ResourceTypes": list, "Suppressions": list, "AutoRemediationID": str,
        "AutoRemediationParameters": dict, "BaseDetection": str,
    },
    "datamodel": _COMMON | {"DataModelID": str, "LogTypes": list, "Filename": str, "Mappings": list},
    "global": _COMMON | {"GlobalID": str, "Filename": str},
    "pack": _COMMON | {"PackID": str, "PackDefinition": dict},
    "lookup_table": _COMMON | {
        "LookupName": str, "Filename": str, "Schema": str, "Refresh": dict, "LogTypeMap": dict, "Query": str,
        "Schedule": dict, "Tests": list,
    },
    "saved_query": _QUERY,
    "scheduled_query": _QUERY | {"Schedule": dict, "EmailConfig": dict},
    "scheduled_prompt": _COMMON | {"PromptName": str, "Prompts": list, "Schedule": dict, "EmailConfig": dict},
}  # fmt: skip
"""Type of item to its keys and what stands under each."""

ID_KEYS = {
    "rule": "RuleID", "scheduled_rule": "RuleID", "correlation_rule": "RuleID", "policy": "PolicyID",
    "datamodel": "DataModelID", "global": "GlobalID", "pack": "PackID", "lookup_table": "LookupName",
    "saved_query": "QueryName", "scheduled_query": "QueryName", "scheduled_prompt": "PromptName",
}  # fmt: skip

_REQUIRED = {
    "rule": ("Severity", "LogTypes"), "scheduled_rule": ("Severity", "ScheduledQueries"),
    "correlation_rule": ("Severity", "Detection"), "policy": ("Severity", "ResourceTypes"),
    "datamodel": ("LogTypes", "Mappings"), "global": ("Filename",), "pack": ("PackDefinition",),
}  # fmt: skip
_GIVEN_BY_BASE = frozenset({"Severity", "LogTypes", "ScheduledQueries", "ResourceTypes", "Detection"})
_DISTINCT = ("LogTypes", "ResourceTypes", "Tags", "OutputIds", "ScheduledQueries", "SummaryAttributes")
_ID = re.compile(r'[^<>&"%]+')
MOST_PROBLEMS = 100
"""Told of one item, and of the tests of one: nobody reads more."""
_TYPE_NAMES = {str: "text", bool: "true or false", int: "a whole number", list: "a list", dict: "a mapping"}


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One YAML file that holds an item."""

    kind: str
    """Its AnalysisType."""
    id: str
    file: Path
    data: dict[str, Any]
    text: bytes
    base: Item | None = None
    """For a derived detection whose base was joined with it: the base."""
    tests_file: Path | None = None
    """Where the tests stand, if not in `file`: a derived detection may have those of its base."""

    def problem(self, message: str, *path: str | int, hint: str = "") -> Problem:
        """A problem of this item, with the line of `path`."""
        return Problem(
            message,
            file=str(self.file),
            line=yaml12.line_of(self.text, path),
            path=".".join(str(step) for step in path),
            hint=hint,
        )


def read_item(file: Path, text: bytes, *, allow_unknown_keys: bool = False) -> tuple[Item | None, list[Problem]]:
    """The item in a YAML file. No item and no problem: the file is not for us."""
    try:
        data = yaml12.load(text)
    except yaml12.YamlError as error:
        return None, [Problem(f"not valid YAML: {error}", file=str(file), line=error.line)]
    if not isinstance(data, dict) or "AnalysisType" not in data:
        return None, []
    kind = data["AnalysisType"]
    if not isinstance(kind, str) or kind not in KEYS:
        message = f"unknown AnalysisType {kind!r}"
        bare = Item(kind="", id="", file=file, data=data, text=text)
        return None, [bare.problem(message, "AnalysisType", hint=did_you_mean(str(kind), KEYS))]
    id_key = ID_KEYS[kind]
    name = data.get(id_key)
    item = Item(kind=kind, id="" if name is None else str(name), file=file, data=data, text=text)
    problems = list(islice(_check(item, id_key, allow_unknown_keys), MOST_PROBLEMS))
    return (item, problems) if item.id else (None, problems)


def did_you_mean(word: str, known: Any) -> str:
    """A hint naming the closest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _check(item: Item, id_key: str, allow_unknown_keys: bool) -> Iterator[Problem]:
    keys = KEYS[item.kind]
    data = item.data
    if not item.id:
        yield item.problem(f"{id_key} is missing")
    elif not isinstance(data[id_key], str) or not (_ID.fullmatch(item.id) and item.id.isprintable()):
        yield item.problem('must be text without any of <>&"%, in one line of letters that can be seen', id_key)
    for key, value in data.items():
        expected = keys.get(key)
        if expected is None and allow_unknown_keys:
            continue
        if expected is None:
            yield item.problem(f"unknown key for a {item.kind}", str(key), hint=did_you_mean(str(key), keys))
        elif value is not None and not _is(value, expected):
            yield item.problem(f"must be {_TYPE_NAMES[expected]}, not {brief(value)}", key)
    for key in _REQUIRED.get(item.kind, ()):
        if data.get(key) is None and not ("BaseDetection" in data and key in _GIVEN_BY_BASE):
            yield item.problem(f"{key} is missing")
    for key in _DISTINCT:
        values = data.get(key)
        if isinstance(values, list):
            seen: set[str] = set()
            for index, value in enumerate(values):
                if isinstance(value, str) and value in seen:
                    yield item.problem(f"{value[:255]!r} is listed twice", key, index)
                elif isinstance(value, str):
                    seen.add(value)


def _is(value: Any, expected: type) -> bool:
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected is str:  # numbers are what YAML makes of an unquoted version or id
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    return isinstance(value, expected)
