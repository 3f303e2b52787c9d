"""`ingestd backfill` on a bucket: each object once, whoever names it, however often it is broken off."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ingestd.cli.main import main
from tests.aws.proxy import Fault, Refuse, Seen, in_front_of
from tests.aws.servers import CREDENTIALS, Aws, aws_credentials, ministack
from tests.aws.site import Site
from tests.proofs.hostile import record

__all__ = ["aws_credentials", "ministack"]


def trail(*ids: str) -> bytes:
    """A CloudTrail file."""
    return gzip.compress(json.dumps({"Records": [record(event_id) for event_id in ids]}).encode())


def fill(aws: Aws, bucket: str, count: int, folder: str = "AWSLogs/") -> Counter[str]:
    """Objects with one record each; their event ids."""
    for number in range(count):
        aws.put(bucket, f"{folder}{number:04}.json.gz", trail(f"{folder}{number}"))
    return Counter(f"{folder}{number}" for number in range(count))


def site_of(aws: Aws, folder: Path, **settings: object) -> Site:
    """A configuration whose queue is empty."""
    return Site(folder / "site", aws, aws.queue(), aws.queue(), **settings)  # type: ignore[arg-type]


def backfill(site: Site, *arguments: str, failpoint: str = "", code: int = 0) -> dict[str, object]:
    """Run the command; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "ingestd", "backfill", "-c", "ingestd.yml", "--json", *arguments],
        cwd=site.folder,
        env={**os.environ, **CREDENTIALS, "INGESTD_FAILPOINT": failpoint},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3_000:]
    answer: dict[str, object] = json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr}
    return answer


def test_all_kinds_of_objects_are_read_once(ministack: Aws, tmp_path: Path) -> None:
    """Folder keys, empty and digest files are no logs, broken ones are rejects; a second run finds all known."""
    aws, bucket = ministack, ministack.bucket()
    wanted = fill(aws, bucket, 5)
    aws.put(bucket, "AWSLogs/odd/a b+c=ü%2B.json.gz", trail("odd"))
    aws.put(bucket, "AWSLogs/folder/", b"")
    aws.put(bucket, "AWSLogs/empty.json.gz", b"")
    aws.put(bucket, "AWSLogs/111122223333/CloudTrail-Digest/eu/x.json.gz", b"x")
    aws.put(bucket, "AWSLogs/cut.json.gz", trail("f" * 40)[:-20])
    aws.put(bucket, "elsewhere/x.json.gz", trail("x"))
    site = site_of(aws, tmp_path)
    first = backfill(site, f"s3://{bucket}/AWSLogs/")
    assert site.events() == wanted + Counter(["odd"])
    assert first["complete"] is True
    assert (first["objects"], first["known"], first["set_aside"], first["events"]) == (10, 0, 0, 6)
    second = backfill(site, f"s3://{bucket}/AWSLogs/")
    assert (second["objects"], second["known"], second["events"]) == (10, 7, 0)
    assert site.events() == wanted + Counter(["odd"])


def test_notification_and_listing_read_each_object_once(ministack: Aws, tmp_path: Path) -> None:
    """At the same time, by a daemon and a backfill on one state."""
    bucket, site = ministack.bucket(), site_of(ministack, tmp_path)
    ministack.notify_queue(bucket, site.queue)
    wanted = fill(ministack, bucket, 60)
    command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"]
    with site.log.open("ab") as log:
        daemon = subprocess.Popen(command, cwd=site.folder, env={**os.environ, **CREDENTIALS}, stdout=log, stderr=log)
        backfill(site, f"s3://{bucket}/AWSLogs/")
        assert daemon.wait(120) == 0
    site.drain_until_all_gone(5)
    assert site.events() == wanted
    assert site.rejects() == Counter()


@pytest.mark.parametrize(
    "failpoint", ["lake.after_commit:2", pytest.param("source.before_ack:2", marks=pytest.mark.slow)]
)
def test_a_backfill_that_dies_goes_on(ministack: Aws, tmp_path: Path, failpoint: str) -> None:
    """Nothing lost, nothing twice, whatever step it died at."""
    bucket = ministack.bucket()
    wanted = fill(ministack, bucket, 40)
    site = site_of(ministack, tmp_path)
    url = f"s3://{bucket}/AWSLogs/"
    backfill(site, url, "--objects-per-sec", "15", failpoint=failpoint, code=-9)
    assert backfill(site, url)["complete"] is True
    assert site.events() == wanted


@pytest.mark.slow
async def test_a_service_that_fails_often_costs_only_time(ministack: Aws, tmp_path: Path) -> None:
    """Listing and reading are tried again."""
    bucket = ministack.bucket()
    wanted = fill(ministack, bucket, 30)
    turn = iter(range(10**6))

    def fault(seen: Seen) -> Fault | None:
        return Refuse(503, "SlowDown") if next(turn) % 5 == 0 else None

    async with in_front_of(ministack.url) as proxy:
        proxy.rule = fault
        site = site_of(ministack, tmp_path, endpoint=proxy.url)
        await asyncio.to_thread(backfill, site, f"s3://{bucket}/AWSLogs/")
    assert site.events() == wanted


async def test_a_listing_that_is_forbidden_is_told(ministack: Aws, tmp_path: Path) -> None:
    """With the permission, in the end and not for ever."""
    bucket = ministack.bucket()
    async with in_front_of(ministack.url) as proxy:
        proxy.rule = lambda seen: Refuse(403, "AccessDenied") if "list-type" in seen.path else None
        site = site_of(ministack, tmp_path, endpoint=proxy.url)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ingestd", "backfill", "-c", "ingestd.yml", "--dry-run", f"s3://{bucket}/"],
            cwd=site.folder,
            env={**os.environ, **CREDENTIALS},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 69
    assert "s3:ListBucket" in done.stderr
    assert "Traceback" not in done.stderr


def test_days_in_the_keys_choose_what_is_read(ministack: Aws, tmp_path: Path) -> None:
    """By accounts and regions as they are there; --dry-run counts the same and reads nothing."""
    bucket = ministack.bucket()
    wanted: Counter[str] = Counter()
    for account in ("111122223333", "444455556666"):
        for day in ("2026/01/30", "2026/01/31", "2026/02/01"):
            folder = f"AWSLogs/{account}/CloudTrail/eu-central-1/{day}/"
            ids = fill(ministack, bucket, 2, folder)
            wanted += ids if day != "2026/02/01" else Counter()
    fill(ministack, bucket, 1, "AWSLogs/111122223333/Config/eu-central-1/2026/01/30/")
    site = site_of(ministack, tmp_path)
    arguments = (
        f"s3://{bucket}/AWSLogs/",
        "--layout=*/CloudTrail/*/%Y/%m/%d/",
        "--since=2026-01-30",
        "--until=2026-02-01",
    )
    assert backfill(site, *arguments, "--dry-run")["objects"] == 8
    assert not site.lake.exists()
    backfill(site, *arguments)
    assert site.events() == wanted


def test_an_inventory_in_the_place_of_a_listing(ministack: Aws, tmp_path: Path) -> None:
    """What it names and what is still there is read; what is gone is a reject."""
    bucket, inventory = ministack.bucket(), ministack.bucket()
    wanted = fill(ministack, bucket, 3)
    lines = "".join(f'"{bucket}","AWSLogs/{name}.json.gz"\n' for name in ("0000", "0001", "0002", "gone"))
    data = gzip.compress(lines.encode())
    manifest = {
        "sourceBucket": bucket,
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key",
        "files": [{"key": "data/1.csv.gz", "MD5checksum": hashlib.md5(data).hexdigest()}],
    }
    ministack.put(inventory, "data/1.csv.gz", data)
    ministack.put(inventory, "daily/2026-02-01T00-00Z/manifest.json", json.dumps(manifest).encode())
    site = site_of(ministack, tmp_path)
    backfill(site, f"s3://{bucket}/AWSLogs/", "--inventory", f"s3://{inventory}/daily/")
    assert site.events() == wanted
    assert site.rejects() == Counter(["not_found"])


@pytest.mark.slow
def test_reading_again_makes_new_records(ministack: Aws, tmp_path: Path) -> None:
    """Once per name of the repetition."""
    bucket = ministack.bucket()
    wanted = fill(ministack, bucket, 3)
    site = site_of(ministack, tmp_path)
    url = f"s3://{bucket}/AWSLogs/"
    backfill(site, url)
    backfill(site, url, "--again", "fixed")
    assert backfill(site, url, "--again", "fixed")["known"] == 3
    assert site.events() == wanted + wanted


MISTAKES = pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["logs/"], 2, "is no address"),
        (["s3://b/", "--since", "yesterday"], 2, "is no time"),
        (["s3://b/", "--since", "2026-02-01", "--until", "2026-01-01"], 2, "ends before it begins"),
        (["s3://b/", "--layout", "%Y/%m"], 2, "needs --since"),
        (["s3://b/", "--again", "a b"], 2, "no name of a repetition"),
        (["s3://b/", "--bytes-per-sec", "fast"], 2, "is no size"),
        (["az://b/"], 78, "no source of the configuration reads az://"),
        (["s3://b/", "--source", "trial"], 78, "those that do: trail"),
    ],
)


@MISTAKES
def test_a_mistake_is_told_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    text: str,
) -> None:
    """With what to write instead; nothing is begun."""
    queue = "https://sqs.eu-central-1.amazonaws.com/111122223333/logs"
    (tmp_path / "ingestd.yml").write_text(f"sources: {{trail: {{type: aws_sqs, queue_url: '{queue}'}}}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ingestd", "backfill", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert text in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["ingestd.yml"]


def test_a_bucket_that_is_not_there_is_told(ministack: Aws, tmp_path: Path) -> None:
    """The end says why, and the code is 1."""
    answer = backfill(site_of(ministack, tmp_path), "s3://no-such-bucket-of-ours/", code=1)
    assert answer["complete"] is False
    assert "there is no such bucket" in str(answer["failure"])


def test_a_source_of_messages_reads_objects_here(ministack: Aws, tmp_path: Path) -> None:
    """What a listing hands out is no log event itself."""
    bucket = ministack.bucket()
    wanted = fill(ministack, bucket, 2)
    site = site_of(ministack, tmp_path, payload="message")
    backfill(site, f"s3://{bucket}/AWSLogs/")
    assert site.events() == wanted
