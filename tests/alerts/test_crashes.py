"""Killed at any step, then started again: every match counted once, every alert once in the file."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

LIFE = """
import asyncio, sys
from pathlib import Path

import uvloop

from ingestd.alerts.destinations import file
from ingestd.alerts.lane import LaneSettings
from ingestd.alerts.outbox import Outbox
from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing, Rule
from ingestd.ledger import Ledger
from ingestd.state.sqlite import SqliteState
from tests.alerts.samples import matches

async def main(folder: Path) -> None:
    state = SqliteState.open(folder / "state.db")
    ledger = await Ledger.open(state, folder)
    await ledger.recover()
    log = file.build("log", file.Config(type="file", path=folder / "alerts.jsonl"))
    lanes = {"log": LaneSettings(concurrency=1, per_minute=600_000)}
    outbox = Outbox(state, {"log": log}, lanes, epoch=lambda: ledger.epoch)
    alerts = Alerts(state, Routing([Rule(name="log")]), on_due=outbox.wake)
    running = asyncio.create_task(outbox.run())
    for dedup in ("a", "b", "c"):
        await alerts.record(matches(30, first=100 * ord(dedup), dedup=dedup, threshold=10))
    assert await outbox.drain(30) == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await ledger.close()
    await state.close()

uvloop.run(main(Path(sys.argv[1])))
"""


def live(folder: Path, failpoint: str = "") -> int:
    """One life of the process; its exit code, negative for a signal."""
    environment = {**os.environ, "INGESTD_FAILPOINT": failpoint}
    return subprocess.run(
        [sys.executable, "-c", LIFE, str(folder)], env=environment, timeout=60, check=False
    ).returncode


@pytest.mark.parametrize(
    "failpoint",
    [
        "alerts.before_transaction:2",
        "alerts.after_transaction:2",
        "outbox.before_send:2",
        "outbox.after_send:2",
        "outbox.after_sent_mark:2",
    ],
)
def test_killed_at_a_step_and_started_again(tmp_path: Path, failpoint: str) -> None:
    """The second life records the same matches again: counts are exact, and the file has each alert once."""
    assert live(tmp_path, failpoint) == -signal.SIGKILL
    assert live(tmp_path) == 0
    written = [json.loads(line)["alert_id"] for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    database = sqlite3.connect(tmp_path / "state.db")
    counted = dict(database.execute("SELECT alert_id, match_count FROM alert_windows"))
    states = database.execute("SELECT status FROM alert_outbox").fetchall()
    database.close()
    assert list(counted.values()) == [30, 30, 30]
    assert sorted(written) == sorted(counted)
    assert states == [("sent",)] * 3
