"""A daemon that is stopped for longer than its lease wakes up, finds its work done by others, and doubles nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ingestd.state.membership import ASLEEP_LEASES
from tests.proofs.kill_loop import wait_for_work
from tests.proofs.site import Site
from tests.proofs.world import World

LEASE_SECS = 1.0
UNAVAILABLE = 69
PATIENCE_SECS = 120.0


class Asleep:
    """Daemons that are put to sleep in the midst of their work."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.taken_over = 0
        """Rounds in which the second daemon did the work of the one that slept."""
        self._choose = random.Random(seed)

    def round(self, number: int) -> None:
        """One daemon sleeps, a second one takes over and ends, the first wakes up and ends.

        When the first sleeps within a transaction, the second says that the state is locked and leaves.
        """
        self.site.add(World(9_000 + number, files=10, records_per_file=200, large_file_records=10_000))
        sleeper = self.site.start()
        if wait_for_work(sleeper):
            time.sleep(self._choose.uniform(0.0, 1.0))
        sleeper.send_signal(signal.SIGSTOP)
        try:
            time.sleep((ASLEEP_LEASES + 1) * LEASE_SECS)
            second = self.site.start()
            code = second.wait(PATIENCE_SECS)
            assert code == 0 or (code == UNAVAILABLE and "holds it locked" in self.site.log_tail())
            self.taken_over += code == 0 and sleeper.poll() is None
        finally:
            sleeper.send_signal(signal.SIGCONT)
        self._ends_well(sleeper)

    def rest(self) -> list[str]:
        """What is left is read; what differs then."""
        self._ends_well(self.site.start())
        return self.site.differences()

    def _ends_well(self, daemon: subprocess.Popen[bytes]) -> None:
        assert daemon.wait(PATIENCE_SECS) == 0, self.site.log_tail()


def test_a_daemon_that_slept_past_its_lease_doubles_nothing(tmp_path: Path) -> None:
    """Put to sleep in the midst of its work, while another one takes it over."""
    asleep = Asleep(Site(tmp_path / "site", lease_secs=LEASE_SECS), seed=1)
    asleep.round(0)
    assert asleep.rest() == [], asleep.site.log_tail()


@pytest.mark.slow
def test_daemons_that_sleep_at_twenty_moments_double_nothing(tmp_path: Path) -> None:
    """The same at random moments: within a transaction, a commit, a delivery."""
    asleep = Asleep(Site(tmp_path / "site", lease_secs=LEASE_SECS), seed=2)
    for number in range(20):
        asleep.round(number)
    assert asleep.rest() == [], asleep.site.log_tail()
    assert asleep.taken_over >= 10
