"""A place where daemons run for a proof: configuration, inbox, lake, state, and the processes started there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.proofs import checker, world
from tests.proofs.power import Power

CONFIG = """
sources:
  inbox:
    type: directory
    path: {inbox}
    settle_secs: 0
    routes: [{{log_types: [AWS.CloudTrail]}}]
detections: {{paths: [{rules}]}}
destinations:
  record: {{type: file, path: {sent}, per_minute: 100000}}
lake: {{url: {lake}, rotate_secs: 1, rotate_rows: 1000}}
state: {{path: {state}, lease_secs: {lease_secs}}}
workers: {{count: {workers}}}
http: {{listen: "off"}}
logging: {{level: warning}}
"""


@dataclass
class Site:
    """Everything lies under `folder`. `expectation` grows with each world that is written into the inbox."""

    folder: Path
    workers: int = 1
    with_power_cuts: bool = False
    lease_secs: float = 60
    expectation: world.Expectation = field(default_factory=world.Expectation)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"  # everything that the daemons write
        self.inbox, self.lake = self.folder / "inbox", self.data / "lake"
        self.state, self.sent = self.data / "state.db", self.data / "alerts.jsonl"
        self.data.mkdir(parents=True)
        self.power = Power(self.data, self.folder / "power") if self.with_power_cuts else None
        world.write_rules(self.folder / "rules")
        self.config = self.folder / "ingestd.yml"
        self.config.write_text(
            CONFIG.format(
                inbox=self.inbox,
                rules=self.folder / "rules",
                sent=self.sent,
                lake=self.lake,
                state=self.state,
                workers=self.workers,
                lease_secs=self.lease_secs,
            )
        )

    def add(self, some: world.World) -> None:
        """Put the files of a world into the inbox, all of them whole: where nothing is waited for, a half-written
        one that is found by looking and not by its being closed is read as it is."""
        name = f"{some.seed:08x}"
        world.write(some, self.folder / "arriving" / name)
        self.inbox.mkdir(exist_ok=True)
        (self.folder / "arriving" / name).rename(self.inbox / name)
        wanted = world.expected(some)
        self.expectation.event_ids |= wanted.event_ids
        self.expectation.matches += wanted.matches

    def start(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """A daemon that drains what is there and stops; armed with a failpoint if one is given."""
        env = {**os.environ, **(self.power.environment if self.power else {}), "INGESTD_FAILPOINT": failpoint}
        log = (self.folder / "daemon.log").open("ab")
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", str(self.config)]
        return subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=self.folder)

    def differences(self) -> list[str]:
        """What is not as it must be."""
        return checker.differences(self.lake, self.state, self.sent, self.expectation)

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing proof."""
        log = self.folder / "daemon.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.exists() else ""


def was_killed(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process ended by SIGKILL."""
    return process.returncode == -signal.SIGKILL


def descendants(pid: int) -> Iterator[int]:
    """Process ids below `pid`, its zygote before the zygote's children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)
