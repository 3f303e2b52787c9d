"""A folder in which daemons read a subscription on local servers, for the tests that run the whole program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.gcp.servers import Gcp
from tests.proofs import checker

CONFIG = """
sources:
  google:
    type: gcp_pubsub
    subscription: {subscription}
    dead_letter_topic: {dead_letter_topic}
    pubsub_endpoint: {pubsub}
    storage_endpoint: {storage}
    lease_secs: {lease_secs}
    max_attempts: {max_attempts}
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
    gcp: Gcp
    subscription: str
    dead_letter_topic: str
    storage: str = ""
    """Where the objects are, when not on the server itself."""
    lease_secs: int = 60
    max_attempts: int = 5
    log_types: str = "GCP.AuditLog"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lake = self.folder / "lake"
        self.log = self.folder / "daemon.log"
        (self.folder / "ingestd.yml").write_text(
            CONFIG.format(
                subscription=self.subscription,
                dead_letter_topic=self.dead_letter_topic,
                pubsub=self.gcp.pubsub_url,
                storage=self.storage or self.gcp.storage.url,
                lease_secs=self.lease_secs,
                max_attempts=self.max_attempts,
                log_types=self.log_types,
            )
        )

    def start(self, *, failpoint: str = "") -> subprocess.Popen[bytes]:
        """Start a daemon that ends when nothing is left."""
        command = [sys.executable, "-m", "ingestd", "run", "--no-progress", "-c", "ingestd.yml", "--once"]
        environment = {**os.environ, "INGESTD_FAILPOINT": failpoint}
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)

    def run(self, *, failpoint: str = "", timeout: float = 120.0) -> int:
        """Run a daemon until nothing is left, or until it dies at the failpoint; its exit code."""
        return self.start(failpoint=failpoint).wait(timeout)

    def drain(self) -> None:
        """Run a daemon until nothing is left."""
        assert self.run() == 0, self.log_tail()

    def drain_until_all_gone(self, runs: int) -> None:
        """Run daemons one after the other until no message is left; what the dead held comes again at once."""
        for _ in range(runs):
            self.gcp.pubsub.broker.pass_time(self.lease_secs + 1)
            self.drain()
            if not self.gcp.left(self.subscription):
                return
        raise AssertionError(f"{len(self.gcp.left(self.subscription))} messages are left\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing test."""
        return self.log.read_text(errors="replace")[-5_000:]

    def events(self, field: str = "insertId") -> Counter[str]:
        """How often each event is in the lake, by a field that tells them apart."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "events", [field]))

    def rejects(self) -> Counter[str]:
        """How often each reason is in the table of rejects."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "rejects", ["reason"]))
