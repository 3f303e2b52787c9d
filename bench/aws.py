"""`python -m bench.aws`: objects by their notices, the daemon beside the straightforward loop and the server's limit.

All of it in one run on this machine, over loopback: a server that makes its answers up (`bench.aws_server`), the loop
`receive → get_object → gunzip → json.loads → delete` on aiobotocore, and the daemon with one worker, which also
normalises, keeps a ledger and writes a lake. "per core" is objects by CPU second of everything that the client runs,
children included; starting is measured by itself and left out. Big objects are read by a worker for each core too, as
normalising them is more work than parsing them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import msgspec

from bench.aws_server import BUCKET, QUEUE_PATH, Settings, Stats, big_object, key_of, small_object
from bench.figures import Figures, children_cpu, print_figures, print_header, print_limit, print_load

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
CONFIG = """
sources:
  bench:
    type: aws_sqs
    queue_url: {url}{queue}
    endpoint_url: {url}
    region: {region}
    reader: {reader}
    routes: [{{log_types: [AWS.CloudTrail]}}]
lake: {{url: lake}}
state: {{path: state.db}}
workers: {{count: {workers}}}
http: {{listen: "off"}}
"""


@contextlib.contextmanager
def server(settings: Settings) -> Iterator[str]:
    """A server with these messages; its URL."""
    command = [sys.executable, "-m", "bench.aws_server", msgspec.json.encode(settings).decode()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def stats_of(url: str) -> Stats:
    """What the server has been asked for until now."""
    with urlopen(f"{url}/_stats") as answer:
        return msgspec.json.decode(answer.read(), type=Stats)


def daemon(settings: Settings, reader: str, workers: int = 1) -> Figures:
    """One run of the daemon until the queue is empty: from the first receive to the last delete, and all CPU time."""
    with server(settings) as url, tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(url=url, queue=QUEUE_PATH, region=REGION, reader=reader, workers=workers)
        (Path(folder) / "ingestd.yml").write_text(config)
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
        before = children_cpu()
        with (Path(folder) / "daemon.log").open("wb") as log:
            subprocess.run(command, cwd=folder, env={**os.environ, **CREDENTIALS}, check=True, stdout=log, stderr=log)
        cpu = children_cpu() - before
        stats = stats_of(url)
        assert stats.left == 0, f"{stats.left} messages are left"
        return Figures(seconds=stats.last_delete - stats.first_receive, cpu=cpu)


def loop(settings: Settings) -> Figures:
    """The straightforward loop, in a process of its own."""
    with server(settings) as url:
        before = children_cpu()
        command = [sys.executable, "-m", "bench.naive_aws", url]
        subprocess.run(command, env={**os.environ, **CREDENTIALS}, check=True)
        cpu = children_cpu() - before
        stats = stats_of(url)
        assert stats.left == 0, f"{stats.left} messages are left"
        return Figures(seconds=stats.last_delete - stats.first_receive, cpu=cpu)


async def server_limit(url: str, paths: list[str]) -> float:
    """Objects per second that the server gives to a client that does nothing with them."""

    async def read(left_over: Iterator[str], host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for path in left_over:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while left:
                left -= len(await reader.read(min(left, 1 << 20)))
        writer.close()

    host, port = url.removeprefix("http://").split(":")
    left_over = iter(paths)
    begun = time.monotonic()
    await asyncio.gather(*(read(left_over, host, int(port)) for _ in range(16)))
    return len(paths) / (time.monotonic() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.aws", description=__doc__)
    parser.add_argument("--small", type=int, default=20_000, help="objects of 1 KB (%(default)s)")
    parser.add_argument("--big", type=int, default=20, help="objects of 10 MB gzip (%(default)s)")
    parser.add_argument("--readers", default="fast,sdk", help="readers of the daemon to measure (%(default)s)")
    options = parser.parse_args()
    readers = options.readers.split(",")
    print_load()
    nothing = Settings(messages=0)
    starting = {reader: daemon(nothing, reader).cpu for reader in readers}
    loop_starting = loop(nothing).cpu
    for kind, count, one in (("small", options.small, small_object(0)), ("big", options.big, big_object())):
        if count:
            _measure(Settings(messages=count, kind=kind), len(one), starting, loop_starting)


def _measure(settings: Settings, size: int, starting: dict[str, float], loop_starting: float) -> None:
    kind, count = settings.kind, settings.messages
    print_header("objects", count, size)
    with server(settings) as url:
        print_limit(asyncio.run(server_limit(url, [f"/{BUCKET}/{key_of(kind, at)}" for at in range(count)])), size)
    print_figures("receive, get, json.loads", _less(loop(settings), loop_starting), count, size)
    for reader, idle in starting.items():
        print_figures(f"daemon, reader: {reader}", _less(daemon(settings, reader), idle), count, size)
    cores = os.cpu_count() or 1
    if kind == "big" and cores > 1:  # a worker's own work is most of it
        reader, idle = next(iter(starting.items()))
        print_figures(f"the same, {cores} workers", _less(daemon(settings, reader, cores), idle), count, size)


def _less(taken: Figures, idle: float) -> Figures:
    return msgspec.structs.replace(taken, cpu=taken.cpu - idle)


if __name__ == "__main__":
    main()
