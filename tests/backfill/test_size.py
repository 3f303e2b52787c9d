"""A bucket with a million keys is listed in memory that stays flat."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws.servers import CREDENTIALS, REGION
from tests.ports import free_port

KEYS = 1_000_000
CONFIG = """
sources: {{trail: {{type: aws_sqs, queue_url: "{url}/1/q", endpoint_url: "{url}", region: {region}}}}}
workers: {{count: 1}}
logging: {{level: warning}}
"""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server with so many keys."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.backfill.pages", str(port), str(KEYS)])
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)  # nobody tells when a port opens
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> int:
    """Memory of a process in MiB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--dry-run"], []], ids=["counted", "worked through"])
def test_a_million_keys_take_no_more_memory_than_a_few(server: str, tmp_path: Path, arguments: list[str]) -> None:
    """After the first tenth of the time the process grows by less than a tenth of a kilobyte for each key."""
    (tmp_path / "ingestd.yml").write_text(CONFIG.format(url=server, region=REGION))
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ingestd", "backfill", "-c", "ingestd.yml", *arguments, "s3://bucket/AWSLogs/"],
        cwd=tmp_path,
        env={**os.environ, **CREDENTIALS},
        stdout=subprocess.PIPE,
        text=True,
    )
    sizes: list[int] = []
    while process.poll() is None:
        sizes.append(resident(process.pid))
        time.sleep(0.2)
    out = process.stdout.read() if process.stdout else ""
    seconds = time.monotonic() - began
    early, most = max(sizes[: max(1, len(sizes) // 10)]), max(sizes)
    print(f"\n{arguments}: {KEYS / seconds:,.0f} keys per second, {early} MiB early, {most} MiB at most")
    assert out.startswith(f"{KEYS:,} objects")
    assert process.returncode == 0
    assert most - early < 64
