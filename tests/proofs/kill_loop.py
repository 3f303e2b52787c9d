"""Daemons are killed with SIGKILL, at named steps and at random moments, until the figures are reached.

`python -m tests.proofs.kill_loop --help` runs it with any figures and prints the kills per step.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ingestd import failpoints
from tests.proofs.site import Site, descendants, was_killed
from tests.proofs.world import World

ROUND_SECS = 300.0
"""No single run takes longer; one that does is a hang, and a failure."""
Daemon = subprocess.Popen[bytes]
RANDOM_TARGETS = ("daemon", "zygote", "child")


@dataclass(frozen=True)
class Figures:
    """How much data, how many kills, by how many daemons at once."""

    seed: int
    files: int
    records_per_file: int
    large_file_records: int
    kills_per_step: int
    random_kills: int
    daemons: int
    power_cuts: bool = False
    """Each kill takes all daemons at once, and everything that was not synced."""


class KillLoop:
    """One loop over one site. `run` answers what is wrong in the end."""

    def __init__(self, site: Site, figures: Figures) -> None:
        self.site = site
        self.figures = figures
        self.kills: Counter[str] = Counter()
        self.records = 0
        self._choose = random.Random(figures.seed)
        self._wave = 0

    def run(self) -> list[str]:
        """Kill, restart, finish, check."""
        figures = self.figures
        self._add(figures.files, figures.large_file_records)
        for step in failpoints.NAMES:
            self._kill_at(step)
        for number in range(figures.random_kills):
            self._kill_at_random(RANDOM_TARGETS[number % len(RANDOM_TARGETS)])
        self._finish()
        return self.site.differences()

    def _add(self, files: int, large: int = 0) -> None:
        wave = World(self.figures.seed * 1000 + self._wave, files, self.figures.records_per_file, large)
        self._wave += 1
        self.records += wave.records
        self.site.add(wave)

    def _kill_at(self, step: str) -> None:
        while self.kills[step] < self.figures.kills_per_step:
            passages = [self._choose.randint(1, 3) for _ in range(self.figures.daemons)]
            daemons = [self.site.start(f"{step}:{passage}") for passage in passages]
            killed = self._wait(daemons)
            self.kills[step] += killed
            if not killed:  # everything was read before the step was passed often enough
                self._add(max(4, self.figures.files // 20))

    def _kill_at_random(self, target: str) -> None:
        while True:
            daemons = [self.site.start() for _ in range(self.figures.daemons)]
            victim = self._choose.choice(daemons)
            began = wait_for_work(victim)
            time.sleep(self._choose.uniform(0.0, 0.4) if began else 0.0)
            hit = began and self._kill(victim.pid, target)
            if target == "daemon" or not hit:
                self._wait(daemons)
            else:  # the daemon lives on without its zygote or child, and must finish by itself
                self._wait(daemons, must_finish=True)
            if hit:
                self.kills[f"random {target}"] += 1
                return
            self._add(max(40, self.figures.files // 5))  # enough work for a moment in the midst of it

    def _kill(self, daemon: int, target: str) -> bool:
        family = list(descendants(daemon))
        if len(family) < 2:
            return False
        pid = {"daemon": daemon, "zygote": family[0], "child": self._choose.choice(family[1:])}[target]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _wait(self, daemons: list[Daemon], *, must_finish: bool = False) -> int:
        """Until all have ended; how many were killed."""
        deadline = time.monotonic() + ROUND_SECS
        while any(daemon.poll() is None for daemon in daemons):
            if time.monotonic() > deadline:
                _kill_all(daemons)
                raise AssertionError(f"a daemon did not end by itself\n{self.site.log_tail()}")
            if self.site.power and any(was_killed(daemon) for daemon in daemons):
                _kill_all(daemons)
            time.sleep(0.02)
        for daemon in daemons:
            if daemon.returncode not in (0, -signal.SIGKILL) or (must_finish and daemon.returncode != 0):
                raise AssertionError(f"a daemon ended with {daemon.returncode}\n{self.site.log_tail()}")
        killed = sum(was_killed(daemon) for daemon in daemons)
        if killed and self.site.power:
            self.site.power.cut()
        return killed

    def _finish(self) -> None:
        self._wait([self.site.start()], must_finish=True)
        # once more: what a repeat would double shows now
        self._wait([self.site.start()], must_finish=True)


def wait_for_work(daemon: Daemon) -> bool:
    """Until the daemon has begun to read, i.e. its child works; False when it ended before."""
    deadline = time.monotonic() + ROUND_SECS
    while daemon.poll() is None and time.monotonic() < deadline:
        family = list(descendants(daemon.pid))
        if len(family) >= 2 and cpu_ticks(family[-1]) > 2:
            return True
        time.sleep(0.02)
    return False


def _kill_all(daemons: list[Daemon]) -> None:
    for daemon in daemons:
        family = [daemon.pid, *descendants(daemon.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()


def cpu_ticks(pid: int) -> int:
    """CPU time of a process; 0 when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def main() -> int:
    """Run with the figures of the command line; print the kills per step and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("seed", 1), ("files", 500), ("records-per-file", 500), ("large-file-records", 50_000),
        ("kills-per-step", 5), ("random-kills", 50), ("daemons", 1),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--power-cuts", action="store_true")
    figures = Figures(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="ingestd-kill-loop-") as folder:
        loop = KillLoop(Site(Path(folder) / "site", with_power_cuts=figures.power_cuts), figures)
        started = time.monotonic()
        differences = loop.run()
        for step, kills in loop.kills.items():
            print(f"{kills:4d} kills at {step}")
        print(f"{loop.records} records, {sum(loop.kills.values())} kills, {time.monotonic() - started:.0f} s")
        for line in differences or ["every record once, every alert with its exact count, every alert sent once"]:
            print(line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
