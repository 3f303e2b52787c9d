"""For all tests: what one leaves in the process does not reach the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingestd import redact


@pytest.fixture(autouse=True)
def _no_secret_is_remembered() -> Iterator[None]:
    """Values that a test resolved are hidden in that test's texts only."""
    yield
    redact.forget_all()
