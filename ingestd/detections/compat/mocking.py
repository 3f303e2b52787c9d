"""Answers to `panther_detection_helpers.mocking`."""

from __future__ import annotations

from typing import Any
from unittest.mock import NonCallableMock


def is_mock(func: Any) -> bool:
    """Whether a test replaced `func` by a mock."""
    return isinstance(func, NonCallableMock)
