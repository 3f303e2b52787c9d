"""A daemon under load is reloaded again and again, with good and with broken changes, and must not notice.

`python -m tests.proofs.reload_loop --help` runs it with any figures and prints what each kind was answered.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.proofs.site import Site, descendants
from tests.proofs.world import World

PATIENCE_SECS = 120.0
SCHEMA = """\
schema: Own.Log
description: written for reload {number}
fields:
  - {{name: at, type: timestamp, timeFormats: [rfc3339], isEventTime: true}}
"""
SECOND_SOURCE = """\
sources:
  second:
    type: directory
    path: {path}
    routes: [{{log_types: [Own.Log]}}]
"""
MEASURED_EVERY = 10
"""Reloads from one measurement of what is held to the next."""


@dataclass(frozen=True)
class Held:
    """What a daemon and its family hold when all is read and quiet."""

    megabytes: float
    """Memory that is their own or their share of what they share, daemon and workers together."""
    processes: int
    descriptors: int


@dataclass
class Answers:
    """How the reloads went."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    under_load: int = 0
    """Reloads that began and ended while records were being read."""


class ReloadLoop:
    """One daemon on one site. `run` answers what is wrong in the end."""

    def __init__(self, site: Site, *, reloads: int, seed: int, records_per_file: int = 300) -> None:
        self.site = site
        self.reloads = reloads
        self.answers = Answers()
        self.records = 0
        self.held: list[Held] = []
        self._seed = seed
        self._records_per_file = records_per_file
        self._schema = site.folder / "own.yml"
        self._rule = site.folder / "rules" / "loud.py"
        self._rule_text = self._rule.read_text()
        self._port = _free_port()
        self._config_text = site.config.read_text().replace(
            'http: {listen: "off"}',
            f'http: {{listen: "127.0.0.1:{self._port}", admin: true}}\nschemas: {{paths: [own.yml]}}',
        )
        (site.folder / "second").mkdir()
        self._restore(0)

    def run(self) -> list[str]:
        """Start, reload under load, measure, stop, drain, check."""
        self._add(20)
        daemon = self._start()
        try:
            for number in range(self.reloads):
                self._reload(number, daemon)
                if number % MEASURED_EVERY == MEASURED_EVERY - 1:
                    self.held.append(self._measure(daemon))
            self._add(40)
            daemon.send_signal(signal.SIGTERM)
            code = daemon.wait(PATIENCE_SECS)
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        rest = self.site.start()
        wrong = [f"SIGTERM under load ended with {code}"] if code else []
        wrong += [f"the drain ended with {rest.returncode}"] if rest.wait(PATIENCE_SECS) else []
        return wrong + self.answers.wrong + self._growth() + self.site.differences()

    def _start(self) -> subprocess.Popen[bytes]:
        log = (self.site.folder / "daemon.log").open("ab")
        command = [sys.executable, "-m", "ingestd", "run", "-c", str(self.site.config)]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
        self._until(lambda: self._get("/readyz") is not None, "ready")
        return daemon

    def _add(self, files: int) -> None:
        wave = World(self._seed * 10_000 + len(self.site.expectation.event_ids), files, self._records_per_file, 0)
        self.records += wave.records
        self.site.add(wave)

    # --- the reloads ---

    def _reload(self, number: int, daemon: subprocess.Popen[bytes]) -> None:
        kinds: list[Callable[[int], str]] = [
            self._good_config, self._broken_config, self._good_rule, self._broken_rule, self._good_source,
            self._good_schema, self._broken_schema,
        ]  # fmt: skip
        kind = kinds[number % len(kinds)]
        wanted = kind(number)
        if self.records - self._read() < 100 * self._records_per_file:
            self._add(120)
        before = self._read()
        if number % 10 == 9:
            daemon.send_signal(signal.SIGHUP)  # together with the call: both are answered by reloads that follow them
        problems = self._post_reload()
        self.answers.under_load += before <= self._read() < self.records
        self.answers.kinds[kind.__name__.strip("_")] += 1
        if not wanted and problems:
            self.answers.wrong.append(f"reload {number}, {kind.__name__}: refused: {problems}")
        if wanted and not any(wanted in problem for problem in problems):
            self.answers.wrong.append(f"reload {number}, {kind.__name__}: {wanted} is not named: {problems}")
        self._restore(number)

    def _restore(self, number: int) -> None:
        self.site.config.write_text(self._config_text)
        self._rule.write_text(self._rule_text)
        self._schema.write_text(SCHEMA.format(number=0))

    def _good_config(self, number: int) -> str:
        self.site.config.write_text(self._config_text.replace("rotate_rows: 1000", f"rotate_rows: {1001 + number}"))
        return ""

    def _good_source(self, number: int) -> str:
        second = SECOND_SOURCE.format(path=self.site.folder / "second")
        self.site.config.write_text(self._config_text.replace("sources:\n", second, 1))
        return ""

    def _good_rule(self, number: int) -> str:
        self._rule.write_text(f"{self._rule_text}\nREVISION = {number}\n")
        return ""

    def _good_schema(self, number: int) -> str:
        self._schema.write_text(SCHEMA.format(number=number))
        return ""

    def _broken_config(self, number: int) -> str:
        self.site.config.write_text(self._config_text + "sourcs: {}\n")
        return f"ingestd.yml:{len(self._config_text.splitlines()) + 1}"

    def _broken_rule(self, number: int) -> str:
        self._rule.write_text(self._rule_text + "def title(event:\n")
        return f"loud.py:{len(self._rule_text.splitlines()) + 1}"

    def _broken_schema(self, number: int) -> str:
        self._schema.write_text(SCHEMA.format(number=0) + "  - {name: other, type: sting}\n")
        return "own.yml:5"

    # --- what is held ---

    def _measure(self, daemon: subprocess.Popen[bytes]) -> Held:
        """When everything is read, and the workers of earlier code are gone."""
        self._until(lambda: self._read() == self.records, "everything read")
        self._until(lambda: len(list(descendants(daemon.pid))) == 1 + self.site.workers, "one zygote and its workers")
        family = [daemon.pid, *descendants(daemon.pid)]
        return Held(
            megabytes=sum(_proportional_kb(pid) for pid in family) / 1024,
            processes=len(family),
            descriptors=len(os.listdir(f"/proc/{daemon.pid}/fd")),
        )

    def _growth(self) -> list[str]:
        """The second half of the measurements against the first."""
        half = len(self.held) // 2
        early, late = self.held[:half], self.held[half:]
        before, after = (median(held.megabytes for held in part) for part in (early, late))
        wrong = [f"memory grew from {before:.0f} to {after:.0f} MB"] if after > before * 1.25 + 10 else []
        for name, room in (("processes", 0), ("descriptors", 4)):  # a connection to the admin port may be closing
            before, after = (max(getattr(held, name) for held in part) for part in (early, late))
            wrong += [f"{name} grew from {before} to {after}"] if after > before + room else []
        return wrong

    # --- its admin port ---

    def _read(self) -> int:
        """Records that the daemon has read and committed, as its metrics tell."""
        lines = (self._get("/metrics") or "").splitlines()
        return int(
            sum(
                float(line.rsplit(" ", 1)[1])
                for line in lines
                if line.startswith('ingestd_lake_rows_total{table="events"')
            )
        )

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=PATIENCE_SECS) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def _post_reload(self) -> list[str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/-/reload", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECS) as answer:
                return list(json.load(answer)["problems"])
        except urllib.error.HTTPError as error:
            return list(json.load(error)["problems"])

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while not condition():
            assert time.monotonic() < deadline, f"not {what} within {PATIENCE_SECS:g} s\n{self.site.log_tail()}"
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _proportional_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    """Run with the figures of the command line; print the answers, what was held, and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingestd-reload-loop-") as folder:
        loop = ReloadLoop(Site(Path(folder) / "site"), reloads=options.reloads, seed=options.seed)
        started = time.monotonic()
        differences = loop.run()
    for kind, count in loop.answers.kinds.items():
        print(f"{count:4d} reloads: {kind.replace('_', ' ')}")
    print(f"{loop.answers.under_load} of them under load; {loop.records} records, {time.monotonic() - started:.0f} s")
    for count, held in enumerate(loop.held, 1):
        print(
            f"after {count * MEASURED_EVERY} reloads: {held.megabytes:.0f} MB, {held.processes} processes, "
            f"{held.descriptors} descriptors"
        )
    for line in differences or ["every record once, every alert with its exact count, every alert sent once"]:
        print(line)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
