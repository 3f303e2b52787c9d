"""Real CloudTrail files, from the folder to the lake. Runs where the data set is at hand."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.proofs import checker
from tests.proofs.site import Site

DATA = Path(os.environ.get("INGESTD_REAL_CLOUDTRAIL", Path(__file__).parents[3] / "shared" / "data" / "cloudtrail"))
RECORDS = 1_233

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the data set is not part of the project")


def _events(site: Site) -> list[tuple[object, ...]]:
    daemon = site.start()
    assert daemon.wait(120) == 0, site.log_tail()
    assert checker.parquet_rows(site.lake, "rejects", ["reason"]) == []
    return checker.parquet_rows(site.lake, "events", ["eventID", "p_event_time"])


def test_every_record_is_there_once_however_often_its_file_comes_again(tmp_path: Path) -> None:
    """28 files, gzipped: read once, and not again after a restart, a touch, or the same bytes written over them."""
    site = Site(tmp_path / "site", workers=2)
    site.inbox.mkdir()
    for file in DATA.glob("*.json"):
        (site.inbox / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    rows = _events(site)
    assert len(rows) == RECORDS
    assert set(Counter(event_id for event_id, _ in rows).values()) == {1}
    times = sorted(time for _, time in rows if isinstance(time, datetime))
    assert times[0] == datetime(2023, 7, 10, 11, 42, 36, tzinfo=UTC)
    assert times[-1] == datetime(2023, 7, 10, 12, 37, 50, tzinfo=UTC)

    for file in site.inbox.iterdir():
        os.utime(file)
    assert len(_events(site)) == RECORDS
    for file in site.inbox.iterdir():
        file.write_bytes(file.read_bytes())
    assert len(_events(site)) == RECORDS
