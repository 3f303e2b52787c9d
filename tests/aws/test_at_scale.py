"""Long objects and long queues, against a server that makes them up: bounded memory, and nothing read twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.aws import CONFIG, REGION, server, stats_of
from bench.aws_server import BUCKET, QUEUE_PATH, Settings, lines
from ingestd.cloud.aws import Account
from ingestd.model import ObjectRef
from ingestd.stores import s3
from ingestd.stores.s3 import Reader
from tests.aws.servers import CREDENTIALS
from tests.proofs.site import descendants

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("reader", ["sdk", "fast"])
@pytest.mark.parametrize("size", [60_000_000, pytest.param(5_000_000_000, marks=pytest.mark.slow)])
async def test_an_object_cut_off_at_four_fifths_is_not_read_again_from_the_start(size: int, reader: Reader) -> None:
    """The rest is asked for by range; every byte comes once."""
    cut_at = size * 4 // 5
    with server(Settings(kind="lines", size=size, cut_at=cut_at)) as url:
        store = s3.build(Account(region=REGION, endpoint_url=url), reader=reader)
        read = 0
        async with await store.open(ObjectRef(store="s3", bucket=BUCKET, key="AWSLogs/one.log")) as opened:
            async for piece in opened.chunks():
                assert piece == lines(read, read + len(piece))
                read += len(piece)
        await store.close()
        stats = stats_of(url)
    assert read == size
    assert stats.requests["GET"] == 2
    assert stats.bytes_sent < size + 8 * MIB, "more than what was in the buffers was sent again"


def _resident(pid: int) -> int:
    """Bytes of memory that a daemon and its processes have."""
    total = 0
    for one in (pid, *descendants(pid)):
        with suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE
    return total


def _work_off(folder: Path, url: str, *, max_held: int) -> Iterator[int]:
    """Let a daemon work until the queue is empty; its memory, now and then."""
    config = CONFIG.format(url=url, queue=QUEUE_PATH, region=REGION, reader="fast", workers=1)
    (folder / "ingestd.yml").write_text(config.replace("routes:", f"max_held: {max_held}\n    routes:"))
    command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **CREDENTIALS})
    try:
        while process.poll() is None:
            yield _resident(process.pid)
            time.sleep(0.25)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_no_more_messages_are_held_than_may_be(tmp_path: Path) -> None:
    """However many wait."""
    with server(Settings(messages=2_000)) as url:
        for _ in _work_off(tmp_path, url, max_held=300):
            pass
        stats = stats_of(url)
    assert stats.left == 0
    assert 0 < stats.most_held <= 300
    assert stats.requests["GET"] == 2_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_queue(tmp_path: Path) -> None:
    """100,000 messages: what is held while the last of them are read is what was held while the first were."""
    messages = 100_000
    with server(Settings(messages=messages)) as url:
        memory = [(stats_of(url).left, size) for size in _work_off(tmp_path, url, max_held=5_000)]
        stats = stats_of(url)
    assert stats.left == 0
    assert stats.most_held <= 5_000
    early = max(size for left, size in memory if messages * 0.6 < left <= messages * 0.8)
    late = max(size for left, size in memory if left < messages * 0.2)
    print(f"{stats.most_held} held at most; {early / MIB:.0f} MiB at the first, {late / MIB:.0f} MiB at the last")
    assert late < early + 48 * MIB
