"""Daemons that share a queue and a state are killed with SIGKILL while objects arrive, each told of twice.

`python -m tests.aws.kill_loop --help` runs it with any figures, against a server of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws.servers import CREDENTIALS, REGION, Aws, running
from tests.proofs import checker, world
from tests.proofs.kill_loop import cpu_ticks
from tests.proofs.site import descendants
from tests.proofs.world import World

CONFIG = """
sources:
  trail:
    type: aws_sqs
    queue_url: {queue}
    dead_letter_queue_url: {dead_letters}
    endpoint_url: {endpoint}
    region: {region}
    lease_secs: {lease_secs}
    routes: [{{log_types: [AWS.CloudTrail]}}]
detections: {{paths: [rules]}}
destinations:
  record: {{type: file, path: alerts.jsonl, per_minute: 100000}}
lake: {{url: lake, rotate_secs: 1}}
state: {{path: state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
logging: {{level: warning}}
"""
RECEIVES = "1000"
"""The queue's own limit: kills use up receives."""
FINISH_SECS = 600.0
Daemon = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Figures:
    """How much data, how many kills, by how many daemons at once."""

    seed: int = 1
    objects: int = 10_000
    records_per_object: int = 3
    kills: int = 100
    daemons: int = 3
    lease_secs: int = 2


@dataclass
class KillLoop:
    """One loop in one folder. `run` answers what is wrong in the end."""

    aws: Aws
    folder: Path
    figures: Figures
    kills: int = 0
    expectation: world.Expectation = field(default_factory=world.Expectation)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._choose = random.Random(self.figures.seed)
        self.dead_letters = self.aws.queue()
        redrive = {"deadLetterTargetArn": self.aws.queue_arn(self.dead_letters), "maxReceiveCount": RECEIVES}
        self.queue = self.aws.queue(RedrivePolicy=json.dumps(redrive))
        self.bucket = self.aws.bucket()
        self.aws.notify_queue(self.bucket, self.queue)
        world.write_rules(self.folder / "rules")
        (self.folder / "ingestd.yml").write_text(
            CONFIG.format(
                queue=self.queue,
                dead_letters=self.dead_letters,
                endpoint=self.aws.url,
                region=REGION,
                lease_secs=self.figures.lease_secs,
            )
        )

    def run(self) -> list[str]:
        """Put objects, kill, restart, finish, check."""
        figures = self.figures
        daemons = [self._start() for _ in range(figures.daemons)]
        try:
            for wave in range(figures.kills):
                self._put(World(figures.seed * 100_000 + wave, self._share(wave) - 1, figures.records_per_object, 3))
                at = self._choose.randrange(len(daemons))
                self._until_working(daemons[at])
                time.sleep(self._choose.uniform(0.0, 0.8))
                daemons[at].send_signal(signal.SIGKILL)
                assert daemons[at].wait() == -signal.SIGKILL, self.log_tail()
                self.kills += 1
                daemons[at] = self._start()
            self._until_empty(daemons)
        finally:
            codes = [_end(daemon) for daemon in daemons]
        assert set(codes) <= {0, -signal.SIGTERM}, f"they ended with {codes}\n{self.log_tail()}"
        return self._differences()

    def _share(self, wave: int) -> int:
        """Objects that arrive before this kill."""
        objects, kills = self.figures.objects, self.figures.kills
        return (wave + 1) * objects // kills - wave * objects // kills

    def _put(self, some: World) -> None:
        """Write the objects of a world into the bucket; each write is told of, and the second changes nothing."""
        with tempfile.TemporaryDirectory() as folder:
            world.write(some, Path(folder))
            files = sorted(Path(folder).iterdir())
            self._choose.shuffle(files)
            for file in files + files:
                self.aws.put(self.bucket, f"AWSLogs/{some.seed:08x}/{file.name}", file.read_bytes())
        wanted = world.expected(some)
        self.expectation.event_ids |= wanted.event_ids
        self.expectation.matches += wanted.matches

    def _start(self) -> Daemon:
        command = [sys.executable, "-m", "ingestd", "run", "--no-progress", "-c", "ingestd.yml"]
        with (self.folder / "daemon.log").open("ab") as log:
            environment = {**os.environ, **CREDENTIALS}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def _until_working(self, daemon: Daemon) -> None:
        """Until the daemon's child works, or the others have left it nothing to do."""
        while daemon.poll() is None and self.aws.messages(self.queue) != (0, 0):
            family = list(descendants(daemon.pid))
            if len(family) >= 2 and cpu_ticks(family[-1]) > 2:
                return
            time.sleep(0.05)

    def _until_empty(self, daemons: list[Daemon]) -> None:
        deadline = time.monotonic() + FINISH_SECS
        while self.aws.messages(self.queue) != (0, 0):
            assert time.monotonic() < deadline, f"{self.aws.messages(self.queue)} are left\n{self.log_tail()}"
            assert all(daemon.poll() is None for daemon in daemons), self.log_tail()
            time.sleep(0.2)

    def _differences(self) -> list[str]:
        folder = self.folder
        found = checker.differences(folder / "lake", folder / "state.db", folder / "alerts.jsonl", self.expectation)
        if (left := self.aws.messages(self.dead_letters)) != (0, 0):
            found.append(f"set aside: {left} messages")
        return found

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing proof."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-5_000:]


def _end(daemon: Daemon) -> int:
    """Ask a daemon to stop; its exit code, which is that of the signal when it was still starting."""
    daemon.terminate()
    return daemon.wait(timeout=60)


def main() -> int:
    """Run with the figures of the command line; print what was done and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in Figures().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    figures = Figures(**vars(parser.parse_args()))
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory(prefix="ingestd-kill-loop-") as folder:
        with running("ministack", Path(folder)) as aws:
            loop = KillLoop(aws, Path(folder) / "site", figures)
            started = time.monotonic()
            differences = loop.run()
        records = len(loop.expectation.event_ids)
        print(
            f"{figures.objects} objects told of twice, {records} records, {loop.kills} kills of {figures.daemons}"
            f" daemons, {time.monotonic() - started:.0f} s"
        )
        for line in differences or ["every record once, every alert with its exact count, every alert sent once"]:
            print(line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
