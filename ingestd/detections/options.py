"""What the configuration says about detections: plain data that travels to the workers."""

from __future__ import annotations

from typing import Any

import msgspec

from ingestd.model import Severity


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to one detection without touching its files. What is None stays as the files say."""

    enabled: bool | None = None
    severity: Severity | None = None
    """Final: the detection's own severity() is not asked."""
    threshold: int | None = None
    dedup_minutes: int | None = None
    destinations: tuple[str, ...] | None = None
    """Final: the detection's own destinations() is not asked. Empty is nobody."""
    filter: tuple[dict[str, Any], ...] | None = None
    """Conditions in the language of InlineFilters: events that do not meet them are not looked at. Added to the
    detection's own filters."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Which detections to load and how."""

    paths: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    """Given, only what these packs name is enabled (as far as the files enable it)."""
    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    """Wins over everything else."""
    overrides: dict[str, Override] = {}
    only_ids: tuple[str, ...] = ()
    """Given, nothing else is loaded, and what is named is loaded though it be disabled."""
    include_disabled: bool = False
    """Load everything, for validation and tests; `Detection.enabled` still tells."""
    keep_tests: bool = False
    """Keep the tests, and the items as written, in memory; what is wrong with the tests' form is a problem."""
    ignore_files: tuple[str, ...] = ()
    """Files, or patterns of their paths, that are passed over."""
    allow_unknown_keys: bool = False
    """Keys that no item of its type has are no problem."""
    provenance: bool = False
    """Ask git who changed each detection last, and in which commit."""
    known_log_types: tuple[str, ...] | None = None
    """Given, a detection for an unknown log type is a warning."""
