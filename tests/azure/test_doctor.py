"""`ingestd doctor` on a queue and a storage account: each right tried, the missing role named. And other commands."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingestd.sources.azure_queue import CONTRIBUTOR
from ingestd.stores._azure_errors import READER
from tests.azure.proxy import Proxy, Refuse, in_front_of, operation
from tests.azure.servers import NAME, Azure
from tests.azure.site import Site
from tests.proofs.hostile import record


@pytest.fixture
async def queues(azure: Azure) -> AsyncIterator[Proxy]:
    """A proxy before the queues."""
    async with in_front_of(azure.queue_url.rpartition("/")[0]) as made:
        yield made


@pytest.fixture
async def blobs(azure: Azure) -> AsyncIterator[Proxy]:
    """A proxy before the blobs."""
    async with in_front_of(azure.blob_url.rpartition("/")[0]) as made:
        yield made


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


async def doctor(folder: Path, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    """Exit code and rows of `ingestd doctor`."""
    code, out = await ingestd(folder, "doctor", "-c", "ingestd.yml", "--json", *arguments)
    return code, [json.loads(line) for line in out.splitlines()]


async def test_all_is_well(azure: Azure, tmp_path: Path) -> None:
    """One row per right, and code 0; nothing is taken or sent."""
    container, queue, poison = azure.container(), azure.queue(), azure.queue()
    azure.put(container, "a", b"x")
    azure.send(queue, "hello")
    Site(tmp_path, azure, queue, poison)
    code, rows = await doctor(tmp_path, f"az://{NAME}/{container}/")
    assert (code, [row for row in rows if not row["ok"]]) == (0, [])
    assert any(f"read az://{NAME}/{container}/a" in str(row["check"]) for row in rows)
    assert (azure.peek(queue), azure.peek(poison)) == (["hello"], [])


async def test_the_missing_role_is_named(azure: Azure, queues: Proxy, blobs: Proxy, tmp_path: Path) -> None:
    """For the queue and for the blobs, and code 1."""
    container = azure.container()
    azure.put(container, "a", b"x")
    through = (f"{blobs.url}/{NAME}", f"{queues.url}/{NAME}")
    Site(tmp_path, azure, azure.queue(), azure.queue(), *through)
    denied = Refuse(403, "AuthorizationPermissionMismatch")
    queues.rule = lambda seen: denied if operation(seen) == "update" else None
    blobs.rule = lambda seen: denied if operation(seen) == "read" else None
    code, rows = await doctor(tmp_path, f"az://{NAME}/{container}/")
    assert code == 1
    assert {row["missing_permission"] for row in rows if not row["ok"]} == {CONTRIBUTOR, READER}


@pytest.mark.slow
async def test_a_backfill_and_the_queue_read_each_blob_once(azure: Azure, tmp_path: Path) -> None:
    """What was listed is known when its notice comes; under a name for the repetition it is read again."""
    container, queue = azure.container(), azure.queue()
    for name in "abc":
        azure.put(container, f"x/{name}.json.gz", gzip.compress(json.dumps(record(name)).encode()))
        azure.announce(queue, container, f"x/{name}.json.gz")
    site = Site(tmp_path, azure, queue, azure.queue())
    url = f"az://{NAME}/{container}/x/"
    code, out = await ingestd(tmp_path, "backfill", url, "-c", "ingestd.yml", "--json")
    assert (code, json.loads(out)["objects"]) == (0, 3)
    await asyncio.to_thread(site.drain)
    assert dict(site.events()) == {"a": 1, "b": 1, "c": 1}
    code, out = await ingestd(tmp_path, "backfill", url, "-c", "ingestd.yml", "--json", "--again", "mended")
    assert (code, json.loads(out)["events"]) == (0, 3)


async def test_samples_are_read_from_a_storage_account(azure: Azure, tmp_path: Path) -> None:
    """With the account's connection string in the environment, as for every tool of Azure's."""
    container = azure.container()
    azure.put(container, "x/a.json.gz", gzip.compress(json.dumps(record("a")).encode()))
    environment = {"AZURE_STORAGE_CONNECTION_STRING": azure.connection_string()}
    url = f"az://{NAME}/{container}/x/"
    code, out = await ingestd(tmp_path, "parse", url, "--json", **environment)
    assert (code, "AWS.CloudTrail" in out) == (0, True)
    code, out = await ingestd(tmp_path, "infer-schema", url, **environment)
    assert (code, "eventID" in out) == (0, True)
