"""For all tests: what one leaves in the process does not reach the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ingestd import redact
from ingestd.detections import lookups

# No verdict of a test depends on how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _no_secret_is_remembered() -> Iterator[None]:
    """Values that a test resolved are hidden in that test's texts only."""
    yield
    redact.forget_all()


@pytest.fixture(autouse=True)
def _no_table_is_connected() -> Iterator[None]:
    """What runs detections in this process instead of a child connects their lookup tables to it."""
    yield
    lookups.connect(None)
