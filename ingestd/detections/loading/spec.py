"""A detection as its files and the configuration say it is, before any of its code is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from reprlib import repr as brief
from typing import Any, Literal, cast

import msgspec

from ingestd.detections.loading import textfile
from ingestd.detections.loading.items import Item
from ingestd.detections.options import Override
from ingestd.errors import Problem
from ingestd.model import SEVERITIES, Severity

Kind = Literal["rule", "scheduled_rule", "correlation_rule", "policy"]
KINDS: tuple[Kind, ...] = ("rule", "scheduled_rule", "correlation_rule", "policy")
_DEFAULT_DEDUP_MINUTES = 60
_SHORTEST_DEDUP_MINUTES = 5
_LARGEST = 2**31 - 1
"""Threshold and minutes: what every store of state can hold."""


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, scheduled rule, correlation rule or policy."""

    id: str
    kind: Kind
    file: str
    """Its YAML file."""
    tests_file: str = ""
    """The file in which its tests stand."""
    code: str | None
    """Its Python file, if it has one."""
    enabled: bool
    log_types: tuple[str, ...]
    """Log types; for a policy resource types; for a scheduled rule its queries."""
    display_name: str
    severity: Severity
    severity_is_final: bool = False
    """The configuration fixed it: severity() is not asked."""
    description: str = ""
    reference: str = ""
    runbook: str = ""
    threshold: int = 1
    dedup_minutes: int = _DEFAULT_DEDUP_MINUTES
    creates_alert: bool = True
    destinations: tuple[str, ...] | None = None
    destinations_are_final: bool = False
    """The configuration fixed them: destinations() is not asked."""
    tags: tuple[str, ...] = ()
    reports: dict[str, list[str]] = {}
    summary_attributes: tuple[str, ...] = ()
    status: str = ""
    filters: tuple[Any, ...] = ()
    """InlineFilters, as written, and after them the configuration's."""
    body: dict[str, Any] = {}
    """What a detection without code is made of: Detection, AlertTitle, AlertContext, GroupBy, DynamicSeverities."""
    suppressions: tuple[str, ...] = ()
    """Of a policy: ids of resources, or patterns with `*`, that violate it without an alert."""
    tests: tuple[Any, ...] = ()
    version: str = ""
    """Digest of its files, the helpers that they import, and overrides: 16 hex digits."""
    commit: str = ""
    """Of the last change of its files, where they lie in a git repository and that was asked for."""
    author: str = ""
    """Of that commit: `name <address>`."""
    committed_at: float | None = None

    @property
    def function(self) -> str:
        """Name of the function that decides."""
        return "policy" if self.kind == "policy" else "rule"


_BODY_KEYS = ("Detection", "AlertTitle", "AlertContext", "GroupBy", "DynamicSeverities")
_SOURCE_KEYS = {"policy": "ResourceTypes", "scheduled_rule": "ScheduledQueries"}


def build(
    item: Item,
    code: Path | None,
    enabled: bool,
    override: Override,
    keep_tests: bool,
    report: Callable[[Problem], None],
    helpers: Callable[[bytes], bytes] = lambda _code: b"",
) -> Detection:
    """The detection that `item` describes. What is wrong is reported and replaced by a default. `helpers` makes a
    digest of the helpers that code imports."""
    data = item.data
    severity = override.severity or _severity(item, report)
    destinations = override.destinations
    static = _texts(data.get("OutputIds")) or None
    return Detection(
        id=item.id,
        kind=cast("Kind", item.kind),
        file=str(item.file),
        tests_file=str(item.tests_file or item.file),
        code=None if code is None else str(code),
        enabled=enabled,
        log_types=_texts(data.get(_SOURCE_KEYS.get(item.kind, "LogTypes"))),
        display_name=_text(data.get("DisplayName")),
        severity=severity,
        severity_is_final=override.severity is not None,
        description=_text(data.get("Description")),
        reference=_text(data.get("Reference")),
        runbook=_text(data.get("Runbook")),
        threshold=_positive(item, "Threshold", override.threshold, 1, report),
        dedup_minutes=_dedup_minutes(item, override.dedup_minutes, report),
        creates_alert=data.get("CreateAlert") is not False,
        destinations=static if destinations is None else destinations or ("SKIP",),
        destinations_are_final=destinations is not None,
        tags=_texts(data.get("Tags")),
        reports={str(name): list(_texts(values)) for name, values in (data.get("Reports") or {}).items()},
        summary_attributes=_texts(data.get("SummaryAttributes")),
        status=_text(data.get("Status")),
        filters=(*(data.get("InlineFilters") or ()), *(override.filter or ())),
        body={key: data[key] for key in _BODY_KEYS if data.get(key) is not None},
        suppressions=_texts(data.get("Suppressions")),
        tests=tuple(data.get("Tests") or ()) if keep_tests else (),
        version=_digest(item, code, override, helpers),
    )


def derive(item: Item, base: Item) -> Item:
    """An item with `BaseDetection`: the base's keys where it has none of its own. Its id stays its own."""
    data = {**base.data, **item.data}
    del data["BaseDetection"]
    tests_file = None if "Tests" in item.data else base.file
    return msgspec.structs.replace(item, data=data, base=base, tests_file=tests_file)


def _severity(item: Item, report: Callable[[Problem], None]) -> Severity:
    written = item.data.get("Severity")
    name = str(written).upper()
    if name in SEVERITIES:
        return name
    if written is not None:  # a missing one is reported with the keys
        report(item.problem(f"must be one of {', '.join(SEVERITIES)}, not {brief(written)}", "Severity"))
    return "INFO"


def _positive(item: Item, key: str, override: int | None, default: int, report: Callable[[Problem], None]) -> int:
    value = item.data.get(key) if override is None else override
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        return default  # reported with the keys
    if value < 0:
        report(item.problem(f"must not be negative, is {value}", key))
        return default
    if value > _LARGEST:
        report(item.problem(f"must be at most {_LARGEST}", key))
        return default
    return value or default


def _dedup_minutes(item: Item, override: int | None, report: Callable[[Problem], None]) -> int:
    """The public format's least period is five minutes: what is below counts as that."""
    minutes = _positive(item, "DedupPeriodMinutes", override, _DEFAULT_DEDUP_MINUTES, report)
    return max(minutes, _SHORTEST_DEDUP_MINUTES)


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values) if isinstance(values, list) else ()


def _text(value: Any) -> str:
    """What YAML made of a text; of what is no scalar, which aliases may blow up beyond measure, the beginning."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else brief(value)


def _code_of(file: Path) -> bytes:
    try:
        return textfile.read(file)
    except OSError:
        return b""  # told when it is loaded


def _digest(item: Item, code: Path | None, override: Override, helpers: Callable[[bytes], bytes]) -> str:
    digest = hashlib.blake2b(item.text + (item.base.text if item.base else b""), digest_size=8)
    if code is not None:
        text = _code_of(code)
        digest.update(b"\0" + text + helpers(text))
    if override != Override():
        digest.update(b"\0" + msgspec.json.encode(override))
    return digest.hexdigest()
