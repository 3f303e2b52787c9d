"""A folder and all clouds in one daemon: no lease is lost, every record is there once, nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws.servers import Aws
from tests.azure.servers import Azure
from tests.clouds.places import InAws, InAzure, InFolder, InGoogle, Place
from tests.clouds.together import Figures, Together, everywhere
from tests.gcp.servers import Gcp


def test_all_sources_in_one_event_loop(ministack: Aws, azure: Azure, gcp: Gcp, tmp_path: Path) -> None:
    """Each message is held by leases shorter than the time to its commit, beside detections that are busy."""
    figures = Figures(seconds=5, lease_secs=10, rotate_secs=8, workers=1, files_per_wave=20, waiting=20)
    places: list[Place] = [
        InFolder(tmp_path / "files"),
        InAws(ministack, figures.lease_secs),
        InAzure(azure, figures.lease_secs, tmp_path),
        InGoogle(gcp, figures.lease_secs),
    ]
    together = Together(places, tmp_path / "site", figures)
    assert together.run() == [], together.log_tail()
    assert all(together.sent.values())


@pytest.mark.slow
def test_ten_minutes_at_full_load(tmp_path: Path) -> None:
    """The event loop stays quick and memory flat as well."""
    figures = Figures()
    with everywhere(tmp_path, figures.lease_secs) as places:
        together = Together(places, tmp_path / "site", figures)
        assert together.run() + together.strain.complaints() == [], "\n".join(together.account())
        assert all(together.extended(place.name) for place in places[1:])
