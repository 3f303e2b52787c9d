"""Daemons on one subscription, whichever dies and whenever: every record once, every alert once, no message left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clouds.kill_loop import Figures, KillLoop
from tests.clouds.places import InGoogle
from tests.gcp.servers import Gcp

LEASE_SECS = 10
"""The shortest that there is."""
HASTE_SECS = 0.2


class InHaste(InGoogle):
    """Time passes faster there than here: leases run out while messages are worked on, and soon after a kill."""

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """See `Place`."""
        super().put(name, data, times=times)
        self.gcp.pubsub.broker.pass_time(HASTE_SECS)


@pytest.mark.parametrize(
    "figures",
    [
        Figures(objects=60, kills=2, daemons=2, lease_secs=LEASE_SECS),
        pytest.param(Figures(daemons=2, lease_secs=LEASE_SECS), marks=pytest.mark.slow),
    ],
    ids=["small", "full"],
)
def test_daemons_that_are_killed_lose_and_double_nothing(gcp: Gcp, tmp_path: Path, figures: Figures) -> None:
    """Each object is told of twice, and messages come back while they are still worked on."""
    loop = KillLoop(InHaste(gcp, figures.lease_secs), tmp_path / "site", figures)
    assert loop.run() == [], loop.log_tail()
    assert loop.kills == figures.kills
