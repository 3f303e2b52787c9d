"""`python -m bench.gcp`: objects by their notifications, and events as messages, the daemon beside Google's clients.

Both in one run on this machine, against servers on loopback in a process of their own, which are slower than either:
what counts is "per core", objects or messages by CPU second of everything that the client runs. The daemon also
normalises, keeps a ledger and writes a lake; what starting it takes is measured by itself and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.aws import server_limit
from bench.figures import Figures, children_cpu, print_figures, print_header, print_limit, print_load
from bench.gcp_server import Places, Settings, Stats, thing

CONFIG = """
sources:
  bench:
    type: gcp_pubsub
    subscription: {subscription}
    pubsub_endpoint: {pubsub}
    storage_endpoint: {storage}
    routes: [{{log_types: [{log_type}]}}]
lake: {{url: lake}}
state: {{path: state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
"""


class Server:
    """A running server, and what it counts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.places = msgspec.json.decode(self._line(), type=Places)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stats(self) -> Stats:
        """What was asked for until now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._line(), type=Stats)

    def seconds(self) -> float:
        """From the first pull to the last acknowledgement; all messages must be gone."""
        stats = self.stats()
        assert stats.left == 0, f"{stats.left} messages are left"
        return max(0.001, stats.last_acknowledge - stats.first_pull)


@contextlib.contextmanager
def server(settings: Settings) -> Iterator[Server]:
    """A server with these messages."""
    command = [sys.executable, "-m", "bench.gcp_server", msgspec.json.encode(settings).decode()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def daemon(settings: Settings) -> Figures:
    """One run of the daemon until the subscription is empty."""
    with server(settings) as running, tempfile.TemporaryDirectory() as folder:
        log_type = "GCP.AuditLog" if settings.kind == "event" else "AWS.CloudTrail"
        places = msgspec.to_builtins(running.places)
        (Path(folder) / "ingestd.yml").write_text(CONFIG.format(log_type=log_type, **places))
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
        before = children_cpu()
        with (Path(folder) / "daemon.log").open("wb") as log:
            subprocess.run(command, cwd=folder, check=True, stdout=log, stderr=log)
        return Figures(seconds=running.seconds(), cpu=children_cpu() - before)


def loop(settings: Settings) -> Figures:
    """The straightforward loop, in a process of its own; its start left out as well."""
    with server(settings) as running:
        places = running.places
        what = "events" if settings.kind == "event" else "objects"
        environment = {
            **os.environ,
            "PUBSUB_EMULATOR_HOST": places.pubsub.removeprefix("http://"),
            "STORAGE_EMULATOR_HOST": places.storage,
        }
        before = children_cpu()
        subprocess.run(
            [sys.executable, "-m", "bench.naive_gcp", places.subscription, what], env=environment, check=True
        )
        return Figures(seconds=running.seconds(), cpu=children_cpu() - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.gcp", description=__doc__)
    parser.add_argument("--small", type=int, default=10_000, help="objects of 1 KB (%(default)s)")
    parser.add_argument("--big", type=int, default=10, help="objects of 10 MB gzip (%(default)s)")
    parser.add_argument("--events", type=int, default=50_000, help="messages that are events (%(default)s)")
    options = parser.parse_args()
    print_load()
    starting = daemon(Settings()).cpu, loop(Settings()).cpu
    for kind, count in (("small", options.small), ("big", options.big), ("event", options.events)):
        if count:
            _measure(Settings(messages=count, kind=kind), *starting)


def _measure(settings: Settings, daemon_starting: float, loop_starting: float) -> None:
    count, size = settings.messages, len(thing(settings.kind, 0))
    print_header("messages" if settings.kind == "event" else "objects", count, size)
    if settings.kind != "event":
        with server(settings) as running:
            print_limit(asyncio.run(server_limit(running.places.storage, running.places.paths)), size)
    taken = loop(settings)
    _print("pull, read, json.loads", taken, loop_starting, count, size)
    _print("daemon", daemon(settings), daemon_starting, count, size)


def _print(name: str, taken: Figures, starting: float, count: int, size: int) -> None:
    print_figures(name, msgspec.structs.replace(taken, cpu=taken.cpu - starting), count, size)


if __name__ == "__main__":
    main()
