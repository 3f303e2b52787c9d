"""`python -m bench.azure`: blobs by their notices, the daemon beside the straightforward loop.

Both in one run on this machine, against Azurite over loopback, which is slower than either: what counts is "per
core", blobs by CPU second of everything that the client runs. The daemon also normalises, keeps a ledger and writes a
lake. Starting either is measured by itself and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.aws import server_limit
from bench.aws_server import big_object, small_object
from bench.figures import Figures, children_cpu, print_figures, print_header, print_limit, print_load
from tests.azure.servers import NAME, Azure, running

Run = Callable[[Azure, str], Figures]
"""Empties a queue."""

CONFIG = """
sources:
  bench:
    type: azure_queue
    queue: {queue}
    connection_string: {{file: connection-string}}
    idle_poll_secs: 0.2
    routes: [{{log_types: [AWS.CloudTrail]}}]
lake: {{url: lake}}
state: {{path: state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
logging: {{level: warning}}
"""


def daemon(azure: Azure, queue: str) -> Figures:
    """One run of the daemon until the queue is empty."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "connection-string").write_text(azure.connection_string())
        (Path(folder) / "ingestd.yml").write_text(CONFIG.format(queue=queue))
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
        return _timed(command, azure, queue, folder)


def loop(azure: Azure, queue: str) -> Figures:
    """The straightforward loop, in a process of its own."""
    return _timed([sys.executable, "-m", "bench.naive_azure", azure.connection_string(), queue], azure, queue, None)


def _timed(command: list[str], azure: Azure, queue: str, folder: str | None) -> Figures:
    before, begun = children_cpu(), time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    taken = Figures(seconds=time.monotonic() - begun, cpu=children_cpu() - before)
    assert azure.left(queue) == 0, f"{azure.left(queue)} messages are left"
    return taken


def filled(azure: Azure, container: str, etags: list[str]) -> str:
    """A queue that tells of the blobs with these etags."""
    queue = azure.queue()
    for number, etag in enumerate(etags):
        azure.announce(queue, container, f"{number}.json.gz", eTag=etag)
    return queue


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.azure", description=__doc__)
    parser.add_argument("--small", type=int, default=2_000, help="blobs of 1 KB (%(default)s)")
    parser.add_argument("--big", type=int, default=10, help="blobs of 10 MB gzip (%(default)s)")
    options = parser.parse_args()
    print_load()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as azure:
        runs: tuple[Run, ...] = (loop, daemon)
        starting = {run: run(azure, azure.queue()) for run in runs}
        for count, data in ((options.small, small_object(0)), (options.big, big_object())):
            if count:
                _measure(azure, count, data, starting)


def _measure(azure: Azure, count: int, data: bytes, starting: dict[Run, Figures]) -> None:
    container = azure.container()
    etags = [azure.put(container, f"{number}.json.gz", data) for number in range(count)]
    print_header("blobs", count, len(data))
    azure.blobs.get_container_client(container).set_container_access_policy({}, public_access="blob")
    paths = [f"/{NAME}/{container}/{number}.json.gz" for number in range(count)]
    print_limit(asyncio.run(server_limit(azure.blob_url.removesuffix(f"/{NAME}"), paths)), len(data))
    names: dict[str, Run] = {"receive, read, json.loads": loop, "daemon": daemon}
    for name, run in names.items():
        taken = run(azure, filled(azure, container, etags))
        seconds = max(0.1, taken.seconds - starting[run].seconds)
        print_figures(name, Figures(seconds=seconds, cpu=taken.cpu - starting[run].cpu), count, len(data))


if __name__ == "__main__":
    main()
