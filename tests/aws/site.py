"""A folder in which daemons read a queue on a local server, for the tests that run the whole program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.aws.servers import CREDENTIALS, REGION, Aws
from tests.proofs import checker

CONFIG = """
sources:
  trail:
    type: aws_sqs
    queue_url: {queue}
    dead_letter_queue_url: {dead_letters}
    endpoint_url: {endpoint}
    region: {region}
    lease_secs: {lease_secs}
    max_attempts: {max_attempts}
    payload: {payload}
    routes: [{{log_types: [AWS.CloudTrail]}}]
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
    aws: Aws
    queue: str
    dead_letters: str
    endpoint: str = ""
    lease_secs: int = 60
    max_attempts: int = 5
    payload: str = "notification"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lake = self.folder / "lake"
        self.log = self.folder / "daemon.log"
        (self.folder / "ingestd.yml").write_text(
            CONFIG.format(
                queue=self.queue,
                dead_letters=self.dead_letters,
                endpoint=self.endpoint or self.aws.url,
                region=REGION,
                lease_secs=self.lease_secs,
                max_attempts=self.max_attempts,
                payload=self.payload,
            )
        )

    def run(self, *, failpoint: str = "", timeout: float = 300.0) -> int:
        """Run a daemon until the queue is empty, or until it dies at the failpoint; its exit code."""
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
        environment = {**os.environ, **CREDENTIALS, "INGESTD_FAILPOINT": failpoint}
        with self.log.open("ab") as log:
            done = subprocess.run(
                command, stdout=log, stderr=log, cwd=self.folder, timeout=timeout, check=False, env=environment
            )
        return done.returncode

    def drain(self) -> None:
        """Run a daemon until the queue is empty."""
        assert self.run() == 0, self.log_tail()

    def drain_until_all_gone(self, runs: int) -> None:
        """Run daemons one after the other until no message waits and none is held."""
        for _ in range(runs):
            self.drain()
            if self.aws.messages(self.queue) == (0, 0):
                return
        raise AssertionError(f"{self.aws.messages(self.queue)} messages are left\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing test."""
        return self.log.read_text(errors="replace")[-5_000:]

    def events(self) -> Counter[str]:
        """How often each event is in the lake, by its id."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "events", ["eventID"]))

    def rejects(self) -> Counter[str]:
        """How often each reason is in the table of rejects."""
        return Counter(str(row[0]) for row in checker.parquet_rows(self.lake, "rejects", ["reason"]))
