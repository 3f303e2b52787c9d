"""Answers to `panther_detection_helpers.mocking`."""

from __future__ import annotations

import sys
from typing import Any


def is_mock(func: Any) -> bool:
    """Whether a test replaced `func` by a mock. Workers have no mocks, and must not pay for the import."""
    mock = sys.modules.get("unittest.mock")
    return mock is not None and isinstance(func, mock.NonCallableMock)
