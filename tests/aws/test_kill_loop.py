"""Several daemons on one queue, whichever dies and whenever: every record once, every alert once, no message left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws.servers import Aws
from tests.clouds.kill_loop import Figures, KillLoop
from tests.clouds.places import InAws


@pytest.mark.parametrize(
    "figures",
    [Figures(objects=60, kills=2, daemons=2), pytest.param(Figures(), marks=pytest.mark.slow)],
    ids=["small", "full"],
)
def test_daemons_that_are_killed_lose_and_double_nothing(ministack: Aws, tmp_path: Path, figures: Figures) -> None:
    """Each object is told of twice, and messages come back while they are still worked on."""
    loop = KillLoop(InAws(ministack, figures.lease_secs), tmp_path / "site", figures)
    assert loop.run() == [], loop.log_tail()
    assert loop.kills == figures.kills
