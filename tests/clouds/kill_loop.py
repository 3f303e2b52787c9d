"""Daemons that share a queue and a state are killed with SIGKILL while objects arrive, each told of twice.

`python -m tests.clouds.kill_loop aws|azure|google` runs it with any figures, against a server of its own.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ingestd.sources.gcp_pubsub import LEAST_LEASE_SECS
from tests.aws.servers import CREDENTIALS
from tests.aws.servers import running as running_aws
from tests.azure.servers import running as running_azure
from tests.clouds.places import InAws, InAzure, InGoogle, Place
from tests.gcp import pubsub, storage
from tests.gcp.servers import Gcp
from tests.proofs import checker, world
from tests.proofs.kill_loop import cpu_ticks
from tests.proofs.site import descendants
from tests.proofs.world import World

FINISH_SECS = 600.0
WAVES_WAITING = 4
"""Objects of so many waves may wait before the next one is put: local servers look through all messages at each call,
and would be all that runs."""
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

    place: Place
    folder: Path
    figures: Figures
    kills: int = 0
    expectation: world.Expectation = field(default_factory=world.Expectation)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._choose = random.Random(self.figures.seed)
        world.write_rules(self.folder / "rules")
        source = {**self.place.source, "routes": [{"log_types": ["AWS.CloudTrail"]}]}
        (self.folder / "ingestd.yml").write_text(
            json.dumps(
                {
                    "sources": {self.place.name: source},
                    "detections": {"paths": ["rules"]},
                    "destinations": {"record": {"type": "file", "path": "alerts.jsonl", "per_minute": 100_000}},
                    "lake": {"url": "lake", "rotate_secs": 1},
                    "state": {"path": "state.db"},
                    "workers": {"count": 1},
                    "http": {"listen": "off"},
                    "logging": {"level": "warning"},
                },
                indent=1,
            )
        )

    def run(self) -> list[str]:
        """Put objects, kill, restart, finish, check."""
        figures = self.figures
        daemons = [self._start() for _ in range(figures.daemons)]
        try:
            for wave in range(figures.kills):
                self._until_left(WAVES_WAITING * self._share(wave), daemons)
                self._put(World(figures.seed * 100_000 + wave, self._share(wave) - 1, figures.records_per_object, 3))
                at = self._choose.randrange(len(daemons))
                self._until_working(daemons[at])
                time.sleep(self._choose.uniform(0.0, 0.8))
                daemons[at].send_signal(signal.SIGKILL)
                assert daemons[at].wait() == -signal.SIGKILL, self.log_tail()
                self.kills += 1
                daemons[at] = self._start()
            self._until_left(0, daemons)
        finally:
            codes = [_end(daemon) for daemon in daemons]
        assert set(codes) <= {0, -signal.SIGTERM}, f"they ended with {codes}\n{self.log_tail()}"
        return self._differences()

    def _share(self, wave: int) -> int:
        """Objects that arrive before this kill."""
        objects, kills = self.figures.objects, self.figures.kills
        return (wave + 1) * objects // kills - wave * objects // kills

    def _put(self, some: World) -> None:
        """Write the objects of a world; each is told of twice, and the second changes nothing."""
        with tempfile.TemporaryDirectory() as folder:
            world.write(some, Path(folder))
            files = sorted(Path(folder).iterdir())
            self._choose.shuffle(files)
            for file in files:
                self.place.put(f"AWSLogs/{some.seed:08x}/{file.name}", file.read_bytes(), times=2)
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
        while daemon.poll() is None and self.place.left():
            family = list(descendants(daemon.pid))
            if len(family) >= 2 and cpu_ticks(family[-1]) > 2:
                return
            time.sleep(0.05)

    def _until_left(self, most: int, daemons: list[Daemon]) -> None:
        """Until no more messages than that are left."""
        deadline = time.monotonic() + FINISH_SECS
        while (left := self.place.left()) > most:
            assert time.monotonic() < deadline, f"{left} messages are left\n{self.log_tail()}"
            assert all(daemon.poll() is None for daemon in daemons), self.log_tail()
            time.sleep(0.2)

    def _differences(self) -> list[str]:
        folder = self.folder
        found = checker.differences(folder / "lake", folder / "state.db", folder / "alerts.jsonl", self.expectation)
        if left := self.place.set_aside():
            found.append(f"set aside: {left} messages")
        return found

    def log_tail(self) -> str:
        """The last lines that the daemons wrote, for a failing proof."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-5_000:]


def _end(daemon: Daemon) -> int:
    """Ask a daemon to stop; its exit code, which is that of the signal when it was still starting."""
    daemon.terminate()
    return daemon.wait(timeout=60)


@contextmanager
def _place(cloud: str, folder: Path, lease_secs: int) -> Iterator[Place]:
    """A place on a server of its own."""
    if cloud == "aws":
        with running_aws("ministack", folder) as aws:
            yield InAws(aws, lease_secs)
    elif cloud == "azure":
        with running_azure(folder) as azure:
            yield InAzure(azure, lease_secs, folder)
    else:
        with pubsub.running() as messages, storage.running() as objects:
            yield InGoogle(Gcp(messages, objects), max(lease_secs, LEAST_LEASE_SECS))


def main() -> int:
    """Run with the figures of the command line; print what was done and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", choices=["aws", "azure", "google"])
    for name, default in Figures().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    options = vars(parser.parse_args())
    cloud, figures = options.pop("cloud"), Figures(**options)
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory(prefix="ingestd-kill-loop-") as name:
        folder = Path(name)
        with _place(cloud, folder, figures.lease_secs) as place:
            loop = KillLoop(place, folder / "site", figures)
            started = time.monotonic()
            differences = loop.run()
        records = len(loop.expectation.event_ids)
        print(
            f"{cloud}: {figures.objects} objects told of twice, {records} records, {loop.kills} kills of"
            f" {figures.daemons} daemons, {time.monotonic() - started:.0f} s"
        )
        for line in differences or ["every record once, every alert with its exact count, every alert sent once"]:
            print(line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
