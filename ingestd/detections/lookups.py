"""Lookup tables as their items describe them, and the door by which rules look up a row themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ingestd.detections.loading.items import Item
from ingestd.errors import Problem

Lookup = Callable[[str, Any], dict[str, Any] | None]
"""`(table, key)` → the row, None when there is none; KeyError when there is no such table."""


class LookupTable(msgspec.Struct, frozen=True, kw_only=True):
    """One lookup table."""

    name: str
    file: str
    """Its data beside the item; empty when the item says that it lies elsewhere."""
    object_name: str
    """File name of the data where it is published; empty when the item says nothing about it."""
    key: str
    """Field of a row that is its key."""
    selectors: dict[str, tuple[str, ...]]
    """Log type → where in its events keys are."""
    schema: str
    url: str = ""
    """Where the data is published, `s3://bucket/key`; empty when the item says nothing about it."""
    period_minutes: float = 60.0
    """How often to look there."""


def parse(item: Item, data: Path | None, report: Callable[[Problem], None]) -> LookupTable | None:
    """The table that an item describes, `data` being its file; None when it has no key. What is wrong is reported."""
    mapping = item.data.get("LogTypeMap")
    if not isinstance(mapping, dict):
        report(item.problem("LogTypeMap is missing: it says which field of a row is its key", "LookupName"))
        return None
    key = mapping.get("PrimaryKey")
    if not isinstance(key, str) or not key:
        report(item.problem("names the field of a row that is its key", "LogTypeMap", "PrimaryKey"))
        return None
    refresh = item.data.get("Refresh")
    published = refresh.get("ObjectPath") if isinstance(refresh, dict) else None
    return LookupTable(
        name=item.id,
        file="" if data is None else str(data),
        object_name=Path(published).name if isinstance(published, str) else "",
        key=key,
        selectors=_selectors(item, mapping.get("AssociatedLogTypes"), report),
        schema=str(item.data.get("Schema") or ""),
        url=published if isinstance(published, str) else "",
        period_minutes=_period(item, refresh, report),
    )


def _period(item: Item, refresh: Any, report: Callable[[Problem], None]) -> float:
    period = refresh.get("PeriodMinutes", 60) if isinstance(refresh, dict) else 60
    if type(period) in (int, float) and period > 0:
        return float(period)
    report(item.problem(f"must be a number of minutes above 0, not {period!r}", "Refresh", "PeriodMinutes"))
    return 60.0


def _selectors(item: Item, entries: Any, report: Callable[[Problem], None]) -> dict[str, tuple[str, ...]]:
    selectors: dict[str, tuple[str, ...]] = {}
    if entries is not None and not isinstance(entries, list):
        report(item.problem("must be a list", "LogTypeMap", "AssociatedLogTypes"))
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        log_type = entry.get("LogType") if isinstance(entry, dict) else None
        found = entry.get("Selectors") if isinstance(entry, dict) else None
        if not isinstance(log_type, str) or not isinstance(found, list) or not all(isinstance(s, str) for s in found):
            path = ("LogTypeMap", "AssociatedLogTypes", index)
            report(item.problem("has a LogType and a list of Selectors", *path))
            continue
        selectors[log_type] = tuple(dict.fromkeys((*selectors.get(log_type, ()), *found)))
    return selectors


tables: Lookup | None = None
"""Answers `event.lookup`; None where there are no tables, as in tests."""


def connect(lookup: Lookup | None) -> None:
    """Answer `event.lookup` by this from now on; None takes the tables away."""
    global tables  # noqa: PLW0603 - one set of tables per process, as there is one set of detections
    tables = lookup
