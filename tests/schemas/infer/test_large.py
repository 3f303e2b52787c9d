"""Inference over gigabytes: one pass, in bounded memory, at the speed of the disk of long ago."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from bench import generate

SIZE = int(os.environ.get("INGESTD_INFER_BYTES", 2 << 30))
BLOCK_EVENTS = 20_000
MOST_MEMORY = 300 << 20
LEAST_BYTES_PER_CPU_SECOND = 80_000_000


def mixed(seed: int) -> Iterator[bytes]:
    """CloudTrail, sign-ins and web requests by turns, no two alike."""
    for number, event in enumerate(generate.events(seed, BLOCK_EVENTS)):
        yield orjson.dumps(event)
        if number % 3 == 0:
            yield orjson.dumps(
                {
                    "when": f"2024-05-01T10:{number % 60:02d}:00Z",
                    "actor": {"email": f"user{number % 977}@example.com", "id": f"00u{number}"},
                    "ip": f"198.51.{number % 100}.{number % 250}",
                    "ok": number % 7 > 0,
                    "risk": number % 100 / 10,
                }
            )
        if number % 5 == 0:
            yield orjson.dumps(
                {
                    "ts": 1_714_557_600_000 + number,
                    "status": "200" if number % 11 else "-",
                    "bytes": number * 7,
                    "url": f"https://{number % 31}.example.com/a/{number}",
                    "tags": {f"t{number % 3}": "x"},
                }
            )


# Asked at the end of the process itself: what its parent's system calls say includes the memory of the parent.
PROGRAM = """\
import atexit, os, resource, sys
from pathlib import Path

def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
    print("used", used.ru_utime + used.ru_stime, int(peak) * 1024, file=sys.stderr)

atexit.register(tell)
from ingestd.cli.main import main
main()
"""


@pytest.mark.slow
def test_gigabytes_of_mixed_records(tmp_path: Path) -> None:
    """Under 300 MB of memory, at least 80 MB per second and core."""
    file = tmp_path / "mixed.jsonl"
    blocks = [b"\n".join(mixed(seed)) + b"\n" for seed in range(3)]
    with file.open("wb") as out:
        turn = 0
        while out.tell() < SIZE:
            out.write(blocks[turn % len(blocks)])
            turn += 1
    size = file.stat().st_size
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, "infer-schema", "--name", "Custom.Mixed", "--json", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    _, cpu_seconds, peak = next(line for line in ended.stderr.splitlines() if line.startswith("used ")).split()
    cpu, memory = float(cpu_seconds), int(peak)
    print(f"{size / 1e9:.2f} GB: {size / cpu / 1e6:.1f} MB/s per CPU second, {memory / 1e6:.0f} MB")
    answer = json.loads(ended.stdout)
    assert answer["records"] > 1_000
    assert answer["left_out"] == 0
    assert memory < MOST_MEMORY
    assert size / cpu >= LEAST_BYTES_PER_CPU_SECOND
