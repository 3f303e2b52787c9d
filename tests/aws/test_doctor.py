"""`ingestd doctor` on a queue and a bucket: each permission tried, the missing one named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.aws.proxy import Proxy, Refuse, in_front_of
from tests.aws.servers import CREDENTIALS, Aws
from tests.aws.site import Site


@pytest.fixture
async def proxy(ministack: Aws) -> AsyncIterator[Proxy]:
    """A proxy before the main server."""
    async with in_front_of(ministack.url) as made:
        yield made


async def doctor(folder: Path, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    """Exit code and rows of `ingestd doctor`."""
    import asyncio

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingestd", "doctor", "-c", "ingestd.yml", "--json", *arguments),
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **CREDENTIALS},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()]


async def test_all_is_well(ministack: Aws, tmp_path: Path) -> None:
    """One row per action, and code 0."""
    bucket, queue = ministack.bucket(), ministack.queue()
    ministack.put(bucket, "AWSLogs/a", b"x")
    Site(tmp_path, ministack, queue, ministack.queue())
    code, rows = await doctor(tmp_path, f"s3://{bucket}/AWSLogs/")
    assert (code, [row for row in rows if not row["ok"]]) == (0, [])
    assert any(f"read s3://{bucket}/AWSLogs/a" in str(row["check"]) for row in rows)
    assert not (tmp_path / "state.db").exists()


async def test_the_missing_action_is_named(ministack: Aws, proxy: Proxy, tmp_path: Path) -> None:
    """For the queue and for the objects, and code 1."""
    bucket, queue = ministack.bucket(), ministack.queue()
    ministack.put(bucket, "a", b"x")
    Site(tmp_path, ministack, queue, ministack.queue(), endpoint=proxy.url)
    denied = {"sqs DeleteMessage", "s3 GET"}
    proxy.rule = lambda seen: (
        Refuse(403, "AccessDenied") if seen.operation in denied and "list-type" not in seen.path else None
    )
    code, rows = await doctor(tmp_path, f"s3://{bucket}")
    assert code == 1
    assert {row["missing_permission"] for row in rows if not row["ok"]} == {"sqs:DeleteMessage", "s3:GetObject"}


async def test_a_role_that_is_refused_is_told_for_each_check(ministack: Aws, proxy: Proxy, tmp_path: Path) -> None:
    """The action that is missing is the role's, not the queue's; the first row is about the role itself."""
    bucket = ministack.bucket()
    site = Site(tmp_path, ministack, ministack.queue(), ministack.queue(), endpoint=proxy.url)
    file = site.folder / "ingestd.yml"
    role = "assume_role: {arn: 'arn:aws:iam::111122223333:role/r'}"
    file.write_text(file.read_text().replace("    routes:", f"    {role}\n    routes:"))
    proxy.rule = lambda seen: Refuse(403, "AccessDenied") if seen.operation == "sts AssumeRole" else None
    code, rows = await doctor(tmp_path, f"s3://{bucket}")
    failed = [row for row in rows if not row["ok"] and row["detail"] != "not tried"]
    assert code == 1
    assert {row["missing_permission"] for row in failed} == {"sts:AssumeRole"}
    assert failed[0]["check"] == "sts:AssumeRole on arn:aws:iam::111122223333:role/r"
    assert all("role/r" in str(row["detail"]) for row in failed)


async def test_the_keys_of_encrypted_queues_are_tried(ministack: Aws, proxy: Proxy, tmp_path: Path) -> None:
    """What reading and setting aside need is told for each key; one that SQS has for everybody is not looked at."""
    key = ministack.client("kms").create_key()["KeyMetadata"]["Arn"]
    other = ministack.client("kms").create_key()["KeyMetadata"]["Arn"]
    queue, dead_letters = ministack.queue(KmsMasterKeyId=key), ministack.queue(KmsMasterKeyId=other)
    Site(tmp_path, ministack, queue, dead_letters, endpoint=proxy.url)
    assert (await doctor(tmp_path))[0] == 0
    refused = {key: "Decrypt", other: "GenerateDataKey"}
    proxy.rule = lambda seen: (
        Refuse(400, "AccessDeniedException")
        if any(arn.encode() in seen.body and seen.operation.endswith(" " + name) for arn, name in refused.items())
        else None
    )
    code, rows = await doctor(tmp_path)
    assert code == 1
    assert {row["check"] for row in rows if not row["ok"]} == {
        f"kms:Decrypt on {key}",
        f"kms:GenerateDataKey on {other}",
    }
    assert all(row["missing_permission"] == str(row["check"]).partition(" ")[0] for row in rows if not row["ok"])

    plain = ministack.queue(KmsMasterKeyId="alias/aws/sqs")
    Site(tmp_path, ministack, plain, ministack.queue(), endpoint=proxy.url)
    code, rows = await doctor(tmp_path)
    assert code == 0
    assert not any("kms:" in str(row["check"]) for row in rows)


async def test_a_key_that_cannot_be_used_is_told(ministack: Aws, proxy: Proxy, tmp_path: Path) -> None:
    """Disabled, or about to be deleted: no permission is missing, and nothing would be received."""
    key = ministack.client("kms").create_key()["KeyMetadata"]["Arn"]
    Site(tmp_path, ministack, ministack.queue(KmsMasterKeyId=key), ministack.queue(), endpoint=proxy.url)
    proxy.rule = lambda seen: Refuse(400, "DisabledException") if seen.operation.endswith(" Decrypt") else None
    code, rows = await doctor(tmp_path)
    (failed,) = [row for row in rows if not row["ok"]]
    assert (code, failed["missing_permission"]) == (1, "")
    assert "DisabledException" in str(failed["detail"])


async def test_the_keys_of_digests_are_asked_for(ministack: Aws, proxy: Proxy, tmp_path: Path) -> None:
    """Only where digests are verified."""
    site = Site(tmp_path, ministack, ministack.queue(), ministack.queue(), endpoint=proxy.url)
    file = site.folder / "ingestd.yml"
    file.write_text(file.read_text().replace("    routes:", "    verify_digests: true\n    routes:"))
    proxy.rule = lambda seen: (
        Refuse(403, "AccessDenied") if seen.headers.get("X-Amz-Target", "").endswith("ListPublicKeys") else None
    )
    code, rows = await doctor(tmp_path)
    assert code == 1
    assert {row["missing_permission"] for row in rows if not row["ok"]} == {"cloudtrail:ListPublicKeys"}


async def test_a_server_that_is_not_there_is_told(ministack: Aws, tmp_path: Path) -> None:
    """Every check fails with the reason; no traceback."""
    Site(tmp_path, ministack, "http://127.0.0.1:9/1/q", "http://127.0.0.1:9/1/d", endpoint="http://127.0.0.1:9")
    code, rows = await doctor(tmp_path)
    assert code == 1
    assert all(not row["ok"] and "127.0.0.1:9" in str(row["detail"]) for row in rows)
