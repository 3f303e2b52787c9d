"""Reloads under load, good and broken ones: nothing is lost, doubled or leaked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proofs.reload_loop import ReloadLoop
from tests.proofs.site import Site


def test_twenty_reloads_under_load_lose_double_and_leak_nothing(tmp_path: Path) -> None:
    """The small version of the proof: each kind of change twice or more, broken ones refused with file and line."""
    loop = ReloadLoop(Site(tmp_path / "site"), reloads=20, seed=3, records_per_file=100)
    assert loop.run() == [], loop.site.log_tail()
    assert loop.answers.under_load >= 10


@pytest.mark.slow
def test_a_hundred_reloads_under_load_lose_double_and_leak_nothing(tmp_path: Path) -> None:
    """The full figures, on a million records and more."""
    loop = ReloadLoop(Site(tmp_path / "site", workers=2), reloads=100, seed=4)
    assert loop.run() == [], loop.site.log_tail()
    assert loop.answers.under_load >= 80
