"""Two daemons on one subscription, whichever dies and whenever: every record once, no message left."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.gcp.servers import Gcp
from tests.gcp.site import Site
from tests.gcp.test_end_to_end import lines

LONGEST_LIFE_SECS = 4.0
FINISH_SECS = 600.0


@pytest.mark.parametrize(
    ("objects", "kills"), [(60, 2), pytest.param(10_000, 100, marks=pytest.mark.slow)], ids=["small", "full"]
)
def test_daemons_that_are_killed_lose_and_double_nothing(gcp: Gcp, tmp_path: Path, objects: int, kills: int) -> None:
    """Messages come back while they are still worked on, as leases run out at any time."""
    dice = random.Random(1)
    bucket, name = gcp.bucket(), gcp.subscription(is_exactly_once=True)
    for number in range(objects):
        gcp.put(name, bucket, f"{number}.json", lines(f"o{number}"))
    site = Site(tmp_path / "site", gcp, name, gcp.topic(), lease_secs=10)
    daemons = [site.start(), site.start()]
    for _ in range(kills):
        time.sleep(dice.uniform(0.5, LONGEST_LIFE_SECS))  # the moment of the kill is what is tried
        at = dice.randrange(len(daemons))
        daemons[at].kill()
        daemons[at].wait()
        gcp.pubsub.broker.pass_time(dice.choice([0, 6, 11]))
        daemons[at] = site.start()
    for daemon in daemons:
        daemon.wait(FINISH_SECS)
    site.drain_until_all_gone(runs=5)
    assert site.events() == Counter({f"o{number}": 1 for number in range(objects)})
    assert site.rejects() == Counter()
