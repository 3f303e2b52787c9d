"""Whatever dies and whenever: every record once, every alert with its exact count, every alert sent once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingestd import failpoints
from tests.proofs.kill_loop import Figures, KillLoop
from tests.proofs.site import Site

SMALL = Figures(
    seed=7, files=12, records_per_file=150, large_file_records=6_000, kills_per_step=1, random_kills=3, daemons=1
)


def test_one_kill_at_each_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The small version of the proof: each step of the protocol once, and daemon, zygote and child once each."""
    loop = KillLoop(Site(tmp_path / "site"), SMALL)
    assert loop.run() == [], loop.site.log_tail()
    assert {step for step in failpoints.NAMES if loop.kills[step]} == set(failpoints.NAMES)


def test_a_power_cut_at_steps_of_the_protocol_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The same under a file layer that forgets what was not synced."""
    loop = KillLoop(Site(tmp_path / "site", with_power_cuts=True), replace(SMALL, seed=8, random_kills=1))
    assert loop.run() == [], loop.site.log_tail()


@pytest.mark.slow
@pytest.mark.parametrize("power_cuts", [False, True], ids=["kills", "power-cuts"])
@pytest.mark.parametrize("daemons", [1, 3])
def test_five_kills_at_each_step_and_fifty_at_random_lose_and_double_nothing(
    tmp_path: Path, daemons: int, power_cuts: bool
) -> None:
    """The full figures: 300,000 records, for one daemon and for three on one SQLite."""
    figures = Figures(
        seed=daemons,
        files=500,
        records_per_file=500,
        large_file_records=50_000,
        kills_per_step=5,
        random_kills=50,
        daemons=daemons,
    )
    loop = KillLoop(Site(tmp_path / "site", with_power_cuts=power_cuts), figures)
    assert loop.run() == [], loop.site.log_tail()
    assert all(loop.kills[step] >= 5 for step in failpoints.NAMES)
