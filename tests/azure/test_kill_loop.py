"""Several daemons on one queue, whichever dies and whenever: every record once, every alert once, no message left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.servers import Azure
from tests.clouds.kill_loop import Figures, KillLoop
from tests.clouds.places import InAzure


@pytest.mark.parametrize(
    "figures",
    [Figures(objects=40, kills=1, daemons=2), pytest.param(Figures(daemons=2), marks=pytest.mark.slow)],
    ids=["small", "full"],
)
def test_daemons_that_are_killed_lose_and_double_nothing(azure: Azure, tmp_path: Path, figures: Figures) -> None:
    """Each blob is told of twice, and messages come back while they are still worked on."""
    loop = KillLoop(InAzure(azure, figures.lease_secs, tmp_path), tmp_path / "site", figures)
    assert loop.run() == [], loop.log_tail()
    assert loop.kills == figures.kills
