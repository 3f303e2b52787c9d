"""A folder and all clouds in one daemon, each as full as it can be, beside detections that are busy all the time.

`python -m tests.clouds.together` runs it for ten minutes against servers of its own, prints what was measured, and
says what is wrong: a lease that was lost, a record that is missing or there twice, an event loop that was late,
memory that grew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.aws.servers import CREDENTIALS
from tests.aws.servers import running as running_aws
from tests.azure.servers import running as running_azure
from tests.clouds import elsewhere
from tests.clouds.measuring import Strain, Values
from tests.clouds.places import InAws, InAzure, InFolder, InGoogle, Place
from tests.clouds.supply import Supply
from tests.gcp import pubsub, storage
from tests.gcp.servers import Gcp
from tests.ports import free_port
from tests.proofs import checker, world
from tests.proofs.site import descendants
from tests.proofs.world import Expectation, World

LOOK_SECS = 2.0
START_SECS = 120.0
FINISH_SECS = 300.0
LARGE_FILE_RECORDS = 400
"""Each wave brings one object that takes long enough to hold up others behind it, if anything does."""
BUSY_RULE = """
def rule(event):
    total = 0
    for number in range({steps}):
        total += number * number
    return total < 0
"""
BUSY_RULE_YML = """
AnalysisType: rule
RuleID: World.Busy
Filename: busy.py
Enabled: true
LogTypes: [AWS.CloudTrail]
Severity: Info
"""


@dataclass(frozen=True)
class Figures:
    """For how long, and how much at once. Leases are shorter than the time between two commits, so that every message
    needs them extended."""

    seconds: int = 600
    lease_secs: int = 20
    rotate_secs: int = 15
    workers: int = 2
    files_per_wave: int = 100
    records_per_file: int = 4
    waiting: int = 300
    """Objects that are there beyond those that the daemon has taken: what there is to do never ends."""
    busy_steps: int = 10_000
    """How long a detection computes over each event; 10,000 are about half a millisecond."""


@dataclass
class Together:
    """One run in one folder. `run` answers what is wrong with the data; `strain` has what was measured."""

    places: list[Place]
    folder: Path
    figures: Figures
    strain: Strain = field(default_factory=Strain)
    sent: dict[str, int] = field(default_factory=dict)
    """Objects by place."""
    expectation: Expectation = field(default_factory=Expectation)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._now = Values({})
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        self.sent = {place.name: 0 for place in self.places}
        self._there = {place.name: place.left() for place in self.places}
        """Messages that were there before, such as a service's own to try the queue."""
        self._configure(port)

    def _configure(self, port: int) -> None:
        figures, rules = self.figures, self.folder / "rules"
        world.write_rules(rules)
        (rules / "busy.py").write_text(BUSY_RULE.format(steps=figures.busy_steps))
        (rules / "busy.yml").write_text(BUSY_RULE_YML)
        routes = [{"log_types": ["AWS.CloudTrail"]}]
        configuration = {
            "sources": {place.name: {**place.source, "routes": routes} for place in self.places},
            "detections": {"paths": ["rules"]},
            "alerts": {"max_per_hour": 10_000_000},
            "destinations": {"record": {"type": "file", "path": "alerts.jsonl", "per_minute": 100_000}},
            "lake": {"url": "lake", "rotate_secs": figures.rotate_secs},
            "state": {"path": "state.db"},
            "workers": {"count": figures.workers},
            "http": {"listen": f"127.0.0.1:{port}"},
            "logging": {"level": "warning"},
        }
        (self.folder / "ingestd.yml").write_text(json.dumps(configuration, indent=1))

    # --- the run ---

    def run(self) -> list[str]:
        """Start the daemon, keep it busy for the time, let it finish, check."""
        daemon = self._start()
        supply = Supply(self.folder / "supply")
        feeders = [threading.Thread(target=self._feed, args=(place, supply)) for place in self.places]
        try:
            self._until_listening(daemon)
            for feeder in feeders:
                feeder.start()
            self._watch(daemon)
            self._over.set()
            for feeder in feeders:
                feeder.join()
            self._until_all_read(daemon)
        finally:
            self._over.set()
            supply.close()
            daemon.terminate()
            code = daemon.wait(timeout=60)
        assert code == 0, f"the daemon ended with {code}\n{self.log_tail()}"
        return self._differences()

    def _start(self) -> subprocess.Popen[bytes]:
        """In our session, because a kernel that shares cores among sessions heeds nice values only within one."""
        command = [sys.executable, "-m", "ingestd", "run", "--no-progress", "-c", "ingestd.yml"]
        with (self.folder / "daemon.log").open("ab") as log:
            environment = {**os.environ, **CREDENTIALS}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def _until_listening(self, daemon: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECS
        while not self._look():
            assert daemon.poll() is None, self.log_tail()
            assert time.monotonic() < deadline, self.log_tail()
            time.sleep(0.1)

    def _watch(self, daemon: subprocess.Popen[bytes]) -> None:
        """Look at the daemon until the time is over."""
        begun = time.monotonic()
        while (at := time.monotonic() - begun) < self.figures.seconds:
            assert daemon.poll() is None, self.log_tail()
            assert not self._failures, self._failures
            if self._look():
                self.strain.note(at / self.figures.seconds, self._now, daemon.pid)
            time.sleep(LOOK_SECS)

    def _look(self) -> bool:
        """Read the daemon's metrics; False when it did not answer in time."""
        try:
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                self._now = Values.parse(answer.read().decode())
        except OSError:
            return False
        return True

    def _until_all_read(self, daemon: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + FINISH_SECS
        while self._open():
            assert daemon.poll() is None, self.log_tail()
            assert time.monotonic() < deadline, f"left: {self._open()}\n{self.log_tail()}"
            time.sleep(0.5)
            self._look()

    def _open(self) -> dict[str, int]:
        """What is not finished, by place."""
        left = {
            place.name: max(place.left(), self.sent[place.name] - int(self._now.messages(place.name, "acked")))
            for place in self.places
        }
        return {name: count for name, count in left.items() if count}

    # --- feeding ---

    def _feed(self, place: Place, supply: Supply) -> None:
        """Keep objects waiting at a place until the time is over."""
        elsewhere.move_this_thread()
        figures, seed = self.figures, (self.places.index(place) + 1) * 1_000_000
        first = World(seed, figures.files_per_wave - 1, figures.records_per_file, LARGE_FILE_RECORDS)
        try:
            for folder, wanted in supply.waves(first):
                while self._waiting(place) > figures.waiting and not self._over.is_set():
                    self._over.wait(0.2)
                if self._over.is_set():
                    return
                self.expectation.event_ids |= wanted.event_ids
                self.expectation.matches.update(wanted.matches)  # unlike +=, safe beside other threads
                for file in sorted(folder.iterdir()):
                    place.put(f"{folder.name}/{file.name}", file.read_bytes())
                    self.sent[place.name] += 1
                shutil.rmtree(folder)
        except BaseException as error:
            self._failures.append(error)
            raise

    def _waiting(self, place: Place) -> float:
        """Objects that the daemon has not taken yet."""
        return self.sent[place.name] - self._now.messages(place.name, "received")

    # --- the end ---

    def _differences(self) -> list[str]:
        folder = self.folder
        found = checker.differences(folder / "lake", folder / "state.db", folder / "alerts.jsonl", self.expectation)
        for place in self.places:
            if left := place.left():
                found.append(f"{place.name}: {left} messages are left")
            if left := place.set_aside():
                found.append(f"{place.name}: {left} messages were set aside")
            found += self._leases(place.name)
        return found

    def _leases(self, source: str) -> list[str]:
        """Whether any message was handed out twice or not held, which is what a lost lease comes to."""
        now, sent = self._now, self.sent[source] + self._there[source]
        found = []
        if (received := now.messages(source, "received")) != sent:
            found.append(f"{source}: {sent} messages, and {received:.0f} were handed out")
        for outcome in ("lost", "returned", "dead_lettered"):
            if count := now.messages(source, outcome):
                found.append(f"{source}: {count:.0f} messages {outcome}")
        if count := now.extensions(source, "lost"):
            found.append(f"{source}: {count:.0f} leases lost")
        return found

    def extended(self, source: str) -> int:
        """How often a lease was extended."""
        return int(self._now.extensions(source, "extended"))

    def account(self) -> list[str]:
        """What was done, in lines."""
        lines = [
            f"{source}: {sent} objects, {self.extended(source)} leases extended,"
            f" {self._now.extensions(source, 'failed'):.0f} calls to extend failed"
            for source, sent in self.sent.items()
        ]
        return [*lines, f"{len(self.expectation.event_ids)} records", *self.strain.account(self.figures.seconds)]

    def log_tail(self) -> str:
        """The last lines that the daemon wrote, for a failing proof."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-5_000:]


@contextmanager
def everywhere(folder: Path, lease_secs: int) -> Iterator[list[Place]]:
    """A folder and a place in each cloud, on servers of their own."""
    with ExitStack() as servers:
        aws = servers.enter_context(running_aws("ministack", folder))
        azure = servers.enter_context(running_azure(folder))
        gcp = Gcp(servers.enter_context(pubsub.running()), servers.enter_context(storage.running()))
        for server in descendants(os.getpid()):
            elsewhere.move(server)
        yield [
            InFolder(folder / "files"),
            InAws(aws, lease_secs),
            InAzure(azure, lease_secs, folder),
            InGoogle(gcp, lease_secs),
        ]


def main() -> int:
    """Run with the figures of the command line; print what was measured and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in Figures().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    figures = Figures(**vars(parser.parse_args()))
    os.environ.update(CREDENTIALS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="ingestd-together-") as name:
        folder = Path(name)
        with everywhere(folder, figures.lease_secs) as places:
            together = Together(places, folder / "site", figures)
            differences = together.run() + together.strain.complaints()
    print(f"{figures.seconds} s, load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for line in together.account():
        print(line)
    for line in differences or ["no lease lost, every record once, every alert once, nothing left"]:
        print(line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
