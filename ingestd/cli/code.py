"""Schemas and detections as a configuration names them, for commands that look at them in their own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingestd.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection

    from ingestd.config.models import Root


def log_types(root: Root) -> Collection[str]:
    """Names of all log types. Raises `ConfigError` with what is wrong with the schemas."""
    from ingestd.schemas.registry import Registry

    return set(Registry.load(root.schemas.paths, builtin=root.schemas.builtin).names)


def detection_problems(root: Root, known: Collection[str] | None) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with the detections that the configuration names, and what may be."""
    from ingestd.config.convert import detection_options
    from ingestd.detections.load import DetectionSet

    if not root.detections.paths:
        return [], []
    try:
        loaded = DetectionSet.load(detection_options(root, log_types=known))
    except ConfigError as error:
        return error.problems, []
    return [], loaded.warnings
