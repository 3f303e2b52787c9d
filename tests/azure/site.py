"""A folder in which daemons read a storage queue on a local server, for the tests that run the whole program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.azure.servers import Azure
from tests.proofs import checker

CONFIG = """
sources:
  entra:
    type: azure_queue
    queue: {queue}
    poison_queue: {poison}
    connection_string: {{file: {secret}}}
    {more}
    lease_secs: {lease_secs}
    max_attempts: {max_attempts}
    idle_poll_secs: 0.2
    append_poll_secs: {append_poll_secs}
    append_grace_secs: 0
    append_quiet_secs: {append_quiet_secs}
    routes:
      - {{log_types: [{log_types}]}}
lake: {{url: lake, rotate_secs: 1}}
state: {{path: state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
logging: {{level: info, format: json}}
"""


@dataclass
class Site:
    """A configuration, and what daemons made of it."""

    folder: Path
    azure: Azure
    queue: str
    poison: str
    blobs: str = ""
    queues: str = ""
    lease_secs: int = 60
    max_attempts: int = 5
    append_poll_secs: float = 60.0
    append_quiet_secs: float = 3600.0
    log_types: str = "AWS.CloudTrail"
    more: str = ""
    """One more line of the source."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lake = self.folder / "lake"
        self.log = self.folder / "daemon.log"
        secret = self.azure.secret(self.folder, self.blobs, self.queues)
        (self.folder / "ingestd.yml").write_text(
            CONFIG.format(
                queue=self.queue,
                poison=self.poison,
                secret=secret["file"],
                lease_secs=self.lease_secs,
                max_attempts=self.max_attempts,
                append_poll_secs=self.append_poll_secs,
                append_quiet_secs=self.append_quiet_secs,
                log_types=self.log_types,
                more=self.more,
            )
        )

    def start(self, *, once: bool = False, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start a daemon."""
        command = [sys.executable, "-m", "ingestd", "run", "--no-progress", "-c", "ingestd.yml"]
        environment = {**os.environ, "INGESTD_FAILPOINT": failpoint}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--once"] if once else command, stdout=log, stderr=log, cwd=self.folder, env=environment
            )

    def run(self, *, failpoint: str = "", timeout: float = 120.0) -> int:
        """Run a daemon until the queue is empty, or until it dies at the failpoint; its exit code."""
        return self.start(once=True, failpoint=failpoint).wait(timeout)

    def drain(self) -> None:
        """Run a daemon until the queue is empty."""
        assert self.run() == 0, self.log_tail()

    def drain_until_all_gone(self, runs: int) -> None:
        """Run daemons one after the other until no message is left."""
        for _ in range(runs):
            self.drain()
            if self.azure.left(self.queue) == 0:
                return
        raise AssertionError(f"{self.azure.left(self.queue)} messages are left\n{self.log_tail()}")

    def starts(self) -> int:
        """How many daemons came so far that they were at work."""
        return self.log.read_bytes().count(b'"event": "started"')

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing test."""
        return self.log.read_text(errors="replace")[-5_000:]

    def events(self, field: str = "eventID") -> Counter[str]:
        """How often each event is in the lake, by a field that tells them apart."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "events", [field]))

    def rejects(self) -> Counter[str]:
        """How often each reason is in the table of rejects."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "rejects", ["reason"]))
