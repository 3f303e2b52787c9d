"""Schemas and detections as a configuration names them, for commands that look at them in their own process."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from ingestd.cli import output
from ingestd.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ingestd.config.models import Root
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.model import Column


def log_types(root: Root) -> Collection[str]:
    """Names of all log types. Raises `ConfigError` with what is wrong with the schemas."""
    from ingestd.schemas.registry import Registry

    return set(Registry.load(root.schemas.paths, builtin=root.schemas.builtin).names)


def columns(root: Root) -> dict[str, tuple[Column, ...]]:
    """Columns of each log type's table, so that one without any event is an empty table and not a mistake.

    With a mistake in the schemas there are none: what was written can be asked all the same.
    """
    from ingestd.schemas import resources
    from ingestd.schemas.registry import Registry

    try:
        registry = Registry.load(root.schemas.paths, builtin=root.schemas.builtin)
    except ConfigError as error:
        output.note(f"the schemas are wrong, so only tables with data are known: {error.problems[0]}")
        return {}
    return {resources.LOG_TYPE: resources.COLUMNS, **{name: registry.columns(name) for name in registry.names}}


def detection_problems(root: Root, known: Collection[str] | None) -> tuple[int, list[Problem], list[Problem]]:
    """Of the detections that the configuration names: how many run, what is wrong with them, and what may be."""
    from ingestd.config.convert import detection_options
    from ingestd.detections.loading.detection_set import DetectionSet

    if not root.detections.paths:
        return 0, [], []
    try:
        with redirect_stdout(sys.stderr):  # a rule may print while it is imported, and our stdout is for results
            loaded = DetectionSet.load(detection_options(root, log_types=known))
    except ConfigError as error:
        return 0, error.problems, []
    return sum(one.enabled for one in loaded.detections.values()), [], [*loaded.warnings, *_queries(loaded, root)]


def _queries(detections: DetectionSet, root: Root) -> Iterator[Problem]:
    """Scheduled queries that cannot run here."""
    queries = [query for _, query in sorted(detections.queries.items())]
    if not queries:
        return
    from ingestd.lake.query_program import why_not
    from ingestd.schemas.registry import Registry

    try:
        registry = Registry.load(root.schemas.paths, builtin=root.schemas.builtin)
    except ConfigError:
        return  # told by whoever looks at the schemas
    for query in queries:
        if reason := why_not(query.sql, registry):
            yield Problem(f"the query does not run here: {reason}", file=query.file, line=query.line, path="Query")


def folder_problems(paths: tuple[str, ...], root: Root) -> tuple[int, list[Problem], list[Problem]]:
    """Of folders of detections: how many there are, what is wrong with them, enabled or not, and what may be. Of the
    configuration only the schemas are asked."""
    from ingestd.detections.loading import idle
    from ingestd.detections.loading.detection_set import DetectionSet
    from ingestd.detections.options import Options

    options = Options(
        paths=paths, include_disabled=True, keep_tests=True, known_log_types=tuple(sorted(log_types(root)))
    )
    with redirect_stdout(sys.stderr):
        loaded = DetectionSet.examine(options)
    warnings = [*loaded.warnings, *idle.find(loaded, paths), *_queries(loaded, root)]
    return len(loaded.detections), loaded.problems, warnings
