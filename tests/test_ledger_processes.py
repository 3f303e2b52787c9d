"""Daemons in processes of their own on one SQLite file, some of them killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ingestd.state import sqlite_file

RECORDS = 12


def start(folder: Path, objects: int, seed: int) -> subprocess.Popen[str]:
    """A daemon that has opened the state."""
    arguments = [
        sys.executable,
        "-m",
        "tests.state.ledger_worker",
        str(folder),
        str(objects),
        str(RECORDS),
        str(seed),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def rows(folder: Path) -> Counter[str]:
    """Every row that is visible."""
    return Counter(line for file in folder.glob("*.rows") for line in file.read_text().splitlines())


@pytest.mark.parametrize(("kills", "objects"), [(0, 150), (8, 150), pytest.param(200, 2_000, marks=pytest.mark.slow)])
def test_three_daemons_commit_each_record_once(tmp_path: Path, kills: int, objects: int) -> None:
    """Whoever is killed at whatever moment, and replaced: each record of each object is visible once in the end."""
    choose = random.Random(7)
    daemons = [start(tmp_path, objects, seed) for seed in range(3)]
    try:
        for seed in range(100, 100 + kills):
            time.sleep(choose.uniform(0.0, 0.05))  # a moment in the life of a daemon, not a wait for something
            victim = choose.randrange(3)
            daemons[victim].kill()
            daemons[victim].wait(timeout=60)
            daemons[victim] = start(tmp_path, objects, seed)
        for daemon in daemons:
            assert daemon.wait(timeout=120) == 0
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait(timeout=60)
            assert daemon.stdout is not None
            daemon.stdout.close()
    assert rows(tmp_path) == Counter(f"object-{n} {record}" for n in range(objects) for record in range(RECORDS))
    connection = sqlite_file.connect(str(tmp_path / "state.db"))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*), sum(done) FROM objects").fetchall() == [(objects, objects)]
    assert connection.execute(
        "SELECT count(*) FROM batches WHERE status IN ('prepared', 'committed')"
    ).fetchone() == (0,)
    connection.close()
