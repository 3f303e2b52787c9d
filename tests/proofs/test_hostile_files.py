"""Hostile files beside good ones: the good rows arrive, each bad thing is one reject, nobody grows."""

from __future__ import annotations

import os
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.proofs import checker, hostile
from tests.proofs.site import Site, descendants

MEMORY_LIMIT = 512 << 20
LONGEST_SECS = 600.0


def _resident(pid: int) -> int:
    """Proportional share of memory: pages that children share with their zygote count once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _prove(tmp_path: Path, sizes: hostile.Sizes) -> None:
    site = Site(tmp_path / "site", workers=2)
    wanted, bad = hostile.write(site.inbox, sizes)
    daemon = site.start()
    peak: Counter[str] = Counter()
    deadline = time.monotonic() + LONGEST_SECS
    while daemon.poll() is None:
        assert time.monotonic() < deadline, site.log_tail()
        peak["daemon"] = max(peak["daemon"], _resident(daemon.pid))
        for pid in descendants(daemon.pid):
            peak["child"] = max(peak["child"], _resident(pid))
        time.sleep(0.05)
    assert daemon.returncode == 0, site.log_tail()

    ids = Counter(str(row[0]) for row in checker.parquet_rows(site.lake, "events", ["eventID"]))
    assert {event for event in wanted if ids[event] != 1} == set()
    assert {event for event in ids if event not in wanted and not event.startswith("truncated-")} == set()
    rows = checker.parquet_rows(site.lake, "rejects", ["p_source_file", "reason"])
    rejected = Counter(os.path.basename(str(origin).split('"')[-2]) for origin, _ in rows)
    assert rejected == Counter(bad.keys())
    for origin, reason in rows:
        name = os.path.basename(str(origin).split('"')[-2])
        assert bad[name] in str(reason), (name, reason)
    assert peak["daemon"] < MEMORY_LIMIT, peak
    assert peak["child"] < MEMORY_LIMIT, peak


def test_a_small_folder_of_hostile_files_costs_only_its_rejects(tmp_path: Path) -> None:
    """64 MiB in a line, 256 MiB in a bomb."""
    _prove(tmp_path, hostile.SMALL)


@pytest.mark.slow
def test_a_full_folder_of_hostile_files_costs_only_its_rejects(tmp_path: Path) -> None:
    """1 GB in a line, 10 GB in a bomb."""
    _prove(tmp_path, hostile.FULL)


def test_the_daemon_stays_ready_beside_hostile_files(tmp_path: Path) -> None:
    """`/readyz` answers 200 as long as the files are worked on, once it has done so."""
    site = Site(tmp_path / "site")
    port = 20_000 + os.getpid() % 20_000
    site.config.write_text(site.config.read_text().replace('listen: "off"', f'listen: "127.0.0.1:{port}"'))
    hostile.write(site.inbox, hostile.SMALL)
    daemon = site.start()
    answers = []
    while daemon.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code if b"draining" not in error.read() else 200)
        except OSError:
            time.sleep(0.02)  # not listening yet, or not any more
    assert daemon.returncode == 0, site.log_tail()
    assert 200 in answers
    assert set(answers[answers.index(200) :]) == {200}
