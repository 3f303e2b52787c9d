"""`ingestd doctor` on a subscription and a bucket, and what reads samples: the missing permission named."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingestd.sources._pubsub_checks import CONSUME
from tests.aws.proxy import Refuse, in_front_of
from tests.gcp.servers import Gcp
from tests.gcp.site import Site
from tests.gcp.test_end_to_end import lines


async def ingestd(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingestd", *arguments),
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **environment},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_doctor_tries_each_right_and_names_what_is_missing(gcp: Gcp, tmp_path: Path) -> None:
    """All is well at first; nothing is taken."""
    bucket, name = gcp.bucket(), gcp.subscription()
    gcp.storage.put(bucket, "a.json", lines("a"))
    gcp.send(name, b"hello")
    async with in_front_of(gcp.storage.url) as proxy:
        Site(tmp_path, gcp, name, gcp.topic(), storage=proxy.url)
        command = ("doctor", "-c", "ingestd.yml", "--json", f"gs://{bucket}/")
        code, out = await ingestd(tmp_path, *command)
        rows = [json.loads(line) for line in out.splitlines()]
        assert (code, [row for row in rows if not row["ok"]]) == (0, [])
        assert any(f"read gs://{bucket}/a.json" in row["check"] for row in rows)
        gcp.pubsub.missing = {CONSUME}
        proxy.rule = lambda seen: Refuse(403) if "/download/" in seen.path else None
        code, out = await ingestd(tmp_path, *command)
        rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert {row["missing_permission"] for row in rows if not row["ok"]} == {CONSUME, "storage.objects.get"}
    assert [held.attempts for held in gcp.left(name)] == [0]


async def test_samples_are_read_from_a_bucket(gcp: Gcp, tmp_path: Path) -> None:
    """Without a configuration, as the environment says."""
    bucket = gcp.bucket()
    gcp.storage.put(bucket, "day/a.json.gz", gzip.compress(lines("a", "b")))
    url, environment = f"gs://{bucket}/day/", {"STORAGE_EMULATOR_HOST": gcp.storage.url}
    code, out = await ingestd(tmp_path, "parse", url, "--json", **environment)
    assert (code, "GCP.AuditLog" in out) == (0, True)
    code, out = await ingestd(tmp_path, "infer-schema", url, **environment)
    assert (code, "insertId" in out) == (0, True)


@pytest.mark.slow
async def test_a_backfill_reads_what_a_listing_names(gcp: Gcp, tmp_path: Path) -> None:
    """Once, also when it was read by its notification before."""
    bucket, name = gcp.bucket(), gcp.subscription()
    gcp.put(name, bucket, "day/a.json", lines("a"))
    site = Site(tmp_path, gcp, name, gcp.topic())
    await asyncio.to_thread(site.drain)
    gcp.storage.put(bucket, "day/b.json", lines("b"))
    code, _ = await ingestd(tmp_path, "backfill", "-c", "ingestd.yml", f"gs://{bucket}/day/")
    assert code == 0, site.log_tail()
    assert site.events() == {"a": 1, "b": 1}
