"""Packs: whether each brings what its detections need, and nothing that none of them needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.loading.items import Item
from ingestd.detections.loading.spec import KINDS

_STANDARD_FIELD_CALLS = frozenset({"udm", "udm_path"})


class Finding(NamedTuple):
    """An item that a pack lacks, or has for nothing."""

    pack: str
    item: str
    what: str
    """`missing` or `extra`."""
    why: str


def check(detections: DetectionSet) -> list[Finding]:
    """Findings about all packs of a set that was loaded with `keep_tests`, sorted."""
    needs = _Needs(detections)
    return sorted(finding for pack in detections.packs for finding in _findings(pack, detections, needs))


def _findings(pack: str, detections: DetectionSet, needs: _Needs) -> Iterator[Finding]:
    members = frozenset(detections.packs[pack])
    items = [detections.items[name] for name in sorted(members) if name in detections.items]
    missing: dict[str, str] = {}
    useful: set[str] = set()
    for item in items:
        for other, why in needs.of(item):
            useful.add(other)
            if item.kind in KINDS and other not in members:  # what data models import is no detection's need
                missing.setdefault(other, f"{item.id} {why}")
    for other, why in missing.items():
        yield Finding(pack, other, "missing", why)
    log_types = {name for item in items if item.kind == "rule" for name in _log_types(item)}
    for item in items:
        serves = item.kind == "datamodel" and log_types & _log_types(item)
        if item.kind in ("global", "datamodel") and item.id not in useful and not serves:
            yield Finding(pack, item.id, "extra", f"no other item of the pack needs this {item.kind}")


def _log_types(item: Item) -> set[str]:
    return {str(name) for name in item.data.get("LogTypes") or ()}


class _Uses(NamedTuple):
    helpers: frozenset[str] = frozenset()
    standard_fields: bool = False


class _Needs:
    """What each item cannot do without."""

    def __init__(self, detections: DetectionSet) -> None:
        self._detections = detections
        self._uses: dict[str, _Uses] = {}

    def of(self, item: Item) -> Iterator[tuple[str, str]]:
        """Ids, and why each is needed."""
        detections = self._detections
        helpers = self._all_helpers(item.id)
        for helper in sorted(helpers - {item.id}):
            yield helper, "imports it, perhaps by way of another helper"
        if item.kind == "rule" and any(self._uses_of(one).standard_fields for one in (item.id, *helpers)):
            for log_type in sorted(_log_types(item) & self._models.keys()):
                yield self._models[log_type], f"asks for standard fields of {log_type}"
        for query in item.data.get("ScheduledQueries") or ():
            if str(query) in detections.items:
                yield str(query), "runs on its rows"
        for correlation in detections.correlations.get(item.id, ()):
            for step in correlation.steps:
                yield step.detection_id, "waits for its matches"
        if item.base is not None:
            yield item.base.id, "is derived from it"

    @cached_property
    def _models(self) -> dict[str, str]:
        return {log_type: model.id for log_type, model in self._detections.data_models.items()}

    def _all_helpers(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        pending = [name]
        while pending:
            new = self._uses_of(pending.pop()).helpers - found
            found |= new
            pending.extend(new)
        return frozenset(found)

    def _uses_of(self, name: str) -> _Uses:
        if name not in self._uses:
            self._uses[name] = self._read(name)
        return self._uses[name]

    def _read(self, name: str) -> _Uses:
        code = self._code(name)
        if code is None:
            return _Uses()
        try:
            tree = ast.parse(code.read_bytes())
        except (OSError, SyntaxError, ValueError):
            return _Uses()  # told when it was loaded
        imported: set[str] = set()
        asks = False
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Attribute) and node.attr in _STANDARD_FIELD_CALLS:
                asks = True
        items = self._detections.items
        return _Uses(frozenset(one for one in imported if one in items and items[one].kind == "global"), asks)

    def _code(self, name: str) -> Path | None:
        detection = self._detections.detections.get(name)
        if detection is not None:
            return Path(detection.code) if detection.code else None
        item = self._detections.items.get(name)
        written = item.data.get("Filename") if item and item.kind in ("global", "datamodel") else None
        return item.file.parent / str(written) if item and written else None
