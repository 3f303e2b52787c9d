"""CloudTrail's digest files: skipped by default, verified when asked; what somebody changed is told."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.aws.servers import REGION, Aws
from tests.aws.site import Site
from tests.proofs.hostile import record

FOLDER = f"AWSLogs/111122223333/CloudTrail-Digest/{REGION}/2026/01/31/"
FINGERPRINT = "31e8b5433410dfb61a9dc45cc65b22ff"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """The key with which CloudTrail signs."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Trail:
    """A bucket to which CloudTrail writes logs and, each hour, a digest that names them and the one before."""

    aws: Aws
    bucket: str
    key: rsa.RSAPrivateKey
    hours: int = 0
    previous: dict[str, str] = field(default_factory=dict)

    def log(self, name: str) -> dict[str, str]:
        """Write a log file; its entry in the digest."""
        plain = json.dumps({"Records": [record(name)]}).encode()
        object_key = f"AWSLogs/111122223333/CloudTrail/{REGION}/{name}.json.gz"
        self.aws.put(self.bucket, object_key, gzip.compress(plain))
        return {"s3Bucket": self.bucket, "s3Object": object_key, "hashValue": hashlib.sha256(plain).hexdigest()}

    def digest(self, *logs: dict[str, str], signed: bool = True, **changes: Any) -> str:
        """Write the digest of an hour; its key."""
        self.hours += 1
        key, end = f"{FOLDER}{self.hours:02}.json.gz", f"2026-01-31T{self.hours:02}:00:00Z"
        document = {
            "digestStartTime": f"2026-01-31T{self.hours - 1:02}:00:00Z",
            "digestEndTime": end,
            "digestS3Bucket": self.bucket,
            "digestS3Object": key,
            "digestPublicKeyFingerprint": FINGERPRINT,
            "logFiles": list(logs),
            **self.previous,
        } | changes
        plain = json.dumps(document).encode()
        before = self.previous.get("previousDigestSignature", "null")
        text = f"{end}\n{self.bucket}/{key}\n{hashlib.sha256(plain).hexdigest()}\n{before}"
        signature = self.key.sign(text.encode(), PKCS1v15(), SHA256()).hex()
        metadata = {"signature": signature, "signature-algorithm": "SHA256withRSA"} if signed else {}
        self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=gzip.compress(plain), Metadata=metadata)
        self.previous = {
            "previousDigestS3Bucket": self.bucket,
            "previousDigestS3Object": key,
            "previousDigestHashValue": hashlib.sha256(plain).hexdigest(),
            "previousDigestSignature": signature,
        }
        return key


@pytest.fixture
async def front(ministack: Aws, key: rsa.RSAPrivateKey) -> AsyncIterator[str]:
    """Address of the server, with an answer about CloudTrail's public keys, which it does not have itself."""
    value = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()
    keys = {"PublicKeyList": [{"Value": value, "Fingerprint": FINGERPRINT, "ValidityStartTime": time.time()}]}

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Amz-Target", "").endswith("ListPublicKeys"):
            return web.json_response(keys, content_type="application/x-amz-json-1.1")
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, ministack.url + request.raw_path, headers=request.headers, data=await request.read()
            ) as answer,
        ):
            skipped = {"content-length", "transfer-encoding", "connection", "date", "server"}
            headers = {name: text for name, text in answer.headers.items() if name.lower() not in skipped}
            if request.method == "HEAD":
                headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def site_of(aws: Aws, folder: Path, endpoint: str, *, verify: bool = True, lease_secs: int = 60) -> Site:
    """A configuration that verifies digests and writes alerts into a file."""
    site = Site(folder / "site", aws, aws.queue(), aws.queue(), endpoint=endpoint, lease_secs=lease_secs)
    file = site.folder / "ingestd.yml"
    text = file.read_text().replace("    routes:", f"    verify_digests: {str(verify).lower()}\n    routes:")
    text = text.replace("format: json}", "format: json, fold_secs: 0}")
    file.write_text(text + "destinations: {record: {type: file, path: alerts.jsonl}}\n")
    return site


def alerts(site: Site) -> list[dict[str, Any]]:
    """What was sent."""
    file = site.folder / "alerts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def trail(ministack: Aws, key: rsa.RSAPrivateKey) -> Trail:
    """A trail without anything in it yet."""
    return Trail(ministack, ministack.bucket(), key)


async def test_what_agrees_makes_no_noise(front: str, trail: Trail, tmp_path: Path) -> None:
    """A chain of three digests, the first of the trail too; their log files are read as ever."""
    site = site_of(trail.aws, tmp_path, front)
    trail.aws.notify_queue(trail.bucket, site.queue)
    trail.digest(trail.log("a"), trail.log("b"))
    trail.digest()
    trail.digest(trail.log("c"))
    await asyncio.to_thread(site.drain)
    assert site.events() == Counter(["a", "b", "c"])
    assert site.rejects() == Counter()
    assert alerts(site) == []
    assert site.log.read_text().count('"digest verified"') == 3
    assert trail.aws.messages(site.queue) == (0, 0)


async def test_without_being_asked_digests_are_skipped(front: str, trail: Trail, tmp_path: Path) -> None:
    """Counted and acknowledged: they are no logs."""
    site = site_of(trail.aws, tmp_path, front, verify=False)
    trail.aws.notify_queue(trail.bucket, site.queue)
    trail.digest(signed=False)
    await asyncio.to_thread(site.drain)
    assert site.rejects() == Counter()
    assert trail.aws.messages(site.queue) == (0, 0)


def _change_log(trail: Trail) -> None:
    log = trail.log("a")
    trail.digest(log)
    trail.aws.put(trail.bucket, log["s3Object"], gzip.compress(b'{"Records": []}'))


def _delete_log(trail: Trail) -> None:
    log = trail.log("a")
    trail.digest(log)
    trail.aws.client("s3").delete_object(Bucket=trail.bucket, Key=log["s3Object"])


def _break_log(trail: Trail) -> None:
    log = trail.log("a")
    trail.digest(log)
    trail.aws.put(trail.bucket, log["s3Object"], b"no gzip")


def _unsigned(trail: Trail) -> None:
    trail.digest(signed=False)


def _forge(trail: Trail) -> None:
    trail.key = rsa.generate_private_key(65537, 2048)
    trail.digest()


def _unknown_key(trail: Trail) -> None:
    trail.digest(digestPublicKeyFingerprint="0" * 32)


def _move(trail: Trail) -> None:
    trail.digest(digestS3Object=f"{FOLDER}another.json.gz")


def _damage(trail: Trail) -> None:
    trail.aws.put(trail.bucket, f"{FOLDER}x.json.gz", gzip.compress(b'{"logFiles": 1}'))


def _cut(trail: Trail) -> None:
    trail.aws.put(trail.bucket, f"{FOLDER}x.json.gz", gzip.compress(b"{" * 9_999)[:-9])


CRIMES = {
    "log_changed": _change_log,
    "log_missing": _delete_log,
    "log_changed by what is no gzip": _break_log,
    "digest_unsigned": _unsigned,
    "digest_forged": _forge,
    "digest_forged with an unknown key": _unknown_key,
    "digest_moved": _move,
    "digest_damaged": _damage,
    "digest_damaged by a cut": _cut,
}


async def test_each_crime_is_told(front: str, ministack: Aws, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """A reject with the reason and one alert for each digest; a redelivery repeats neither."""
    site = site_of(ministack, tmp_path, front)
    for commit in CRIMES.values():
        trail = Trail(ministack, ministack.bucket(), key)
        commit(trail)
        for entry in ministack.client("s3").list_objects_v2(Bucket=trail.bucket, Prefix=FOLDER)["Contents"]:
            for _ in range(2):
                entries = [{"store": "s3", "bucket": trail.bucket, "key": entry["Key"]}]
                ministack.send(site.queue, json.dumps({"objects": entries}))
    await asyncio.to_thread(site.drain_until_all_gone, 5)
    assert site.rejects() == Counter(name.partition(" ")[0] for name in CRIMES)
    sent = alerts(site)
    assert len(sent) == len(CRIMES)
    assert {alert["severity"] for alert in sent} == {"CRITICAL"}
    assert any("is not what CloudTrail wrote" in alert["title"] for alert in sent)


async def test_a_chain_that_is_broken_is_told(front: str, trail: Trail, tmp_path: Path) -> None:
    """A digest that was deleted, and one that was replaced, are missed by the one after it."""
    site = site_of(trail.aws, tmp_path, front)
    gone, changed = trail.digest(), None
    after_gone = trail.digest()
    changed = trail.digest()
    after_changed = trail.digest()
    trail.aws.client("s3").delete_object(Bucket=trail.bucket, Key=gone)
    trail.aws.put(trail.bucket, changed, gzip.compress(b"{}"))
    for key in (after_gone, after_changed):
        trail.aws.send(site.queue, json.dumps({"objects": [{"store": "s3", "bucket": trail.bucket, "key": key}]}))
    await asyncio.to_thread(site.drain)
    assert site.rejects() == Counter(["digest_missing", "digest_changed"])


@pytest.mark.parametrize(
    "failpoint",
    [
        "lake.after_commit",
        pytest.param("alerts.after_transaction", marks=pytest.mark.slow),
        pytest.param("lake.before_commit", marks=pytest.mark.slow),
    ],
)
async def test_a_daemon_that_dies_over_a_finding_tells_it_once(
    front: str, trail: Trail, tmp_path: Path, failpoint: str
) -> None:
    """One reject and one alert, whatever step it died at."""
    site = site_of(trail.aws, tmp_path, front, lease_secs=2)
    key = trail.digest(signed=False)
    trail.aws.send(site.queue, json.dumps({"objects": [{"store": "s3", "bucket": trail.bucket, "key": key}]}))
    assert await asyncio.to_thread(site.run, failpoint=failpoint) == -9
    await asyncio.to_thread(site.drain_until_all_gone, 5)
    assert site.rejects() == Counter(["digest_unsigned"])
    assert len(alerts(site)) == 1
