"""Telemetry is global to a process: each test starts with its counters at zero and leaves logging as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from ingestd.telemetry import catalogue


@pytest.fixture(autouse=True)
def fresh_metrics() -> None:
    """All series gone."""
    catalogue.let_go()
    for declared in catalogue.CATALOGUE:
        if declared.labels:
            declared.metric.clear()
        elif declared.kind == "counter":
            declared.metric.reset()  # type: ignore[union-attr]


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Logging as pytest set it up, after a test that configures it."""
    root = logging.getLogger()
    handlers, level, ours = list(root.handlers), root.level, logging.getLogger("ingestd").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("ingestd").setLevel(ours)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
