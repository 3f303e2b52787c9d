"""From Pub/Sub and Cloud Storage into the lake: nothing lost, nothing twice, nothing left in the subscription."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.aws.proxy import Cut, Refuse, Seen, in_front_of
from tests.aws.proxy import Fault as ProxyFault
from tests.gcp.pubsub import Fault
from tests.gcp.servers import Gcp
from tests.gcp.site import Site


def entry(name: object) -> dict[str, Any]:
    """A record of Cloud Audit Logs."""
    return {
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "authenticationInfo": {"principalEmail": "ada@example.com"},
            "requestMetadata": {"callerIp": "198.51.100.9"},
            "serviceName": "cloudresourcemanager.googleapis.com",
            "methodName": "SetIamPolicy",
            "resourceName": "projects/p",
        },
        "insertId": str(name),
        "resource": {"type": "project", "labels": {"project_id": "p"}},
        "timestamp": "2024-05-01T10:00:00.123456789Z",
        "severity": "NOTICE",
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
        "receiveTimestamp": "2024-05-01T10:00:01Z",
    }


def lines(*names: object) -> bytes:
    """As a sink writes to a bucket."""
    return b"".join(json.dumps(entry(name)).encode() + b"\n" for name in names)


def once_each(*names: object) -> Counter[str]:
    """What the lake is to hold."""
    return Counter({str(name): 1 for name in names})


def test_audit_logs_by_either_way(gcp: Gcp, tmp_path: Path) -> None:
    """Objects that notifications name, and messages that are entries themselves, by one subscription."""
    bucket, name = gcp.bucket(), gcp.subscription()
    gcp.put(name, bucket, "cloudaudit.googleapis.com/activity/2024/05/01/10:00_S0.json", lines("o1", "o2"))
    gcp.put(name, bucket, "packed.json.gz", gzip.compress(lines("o3")))
    gcp.put(name, bucket, "transcoded.json", gzip.compress(lines("o4")), encoding="gzip")
    gcp.announce(name, gcp.storage.live(bucket, "packed.json.gz"), "OBJECT_METADATA_UPDATE")
    gone = gcp.storage.put(bucket, "gone.json", lines("never"))
    gcp.storage.delete(bucket, "gone.json")
    gcp.announce(name, gone, "OBJECT_DELETE")
    gcp.send(name, json.dumps(entry("m1")).encode(), **{"logging.googleapis.com/timestamp": "2024-05-01T10:00:00Z"})
    gcp.send(name, lines("m2", "m3"))
    gcp.send(name, json.dumps([entry("m4"), entry("m5")]).encode())
    gcp.send(name, gzip.compress(lines("m6", "m7")))
    site = Site(tmp_path / "site", gcp, name, gcp.topic())
    site.drain()
    assert site.events() == once_each("o1", "o2", "o3", "o4", *(f"m{number}" for number in range(1, 8)))
    assert site.rejects() == Counter()
    assert gcp.left(name) == []


def test_what_cannot_be_read_is_set_aside_with_the_reason(gcp: Gcp, tmp_path: Path) -> None:
    """Neighbours go on; the dead-letter topic has the message, and the rejects have a row."""
    bucket, name, topic = gcp.bucket(), gcp.subscription(), gcp.topic()
    dead = gcp.subscription(topic)
    gone = gcp.storage.put(bucket, "gone.json", lines("never"))
    gcp.storage.delete(bucket, "gone.json")
    gcp.announce(name, gone)
    gcp.send(name, b"", notificationConfig="x", eventType="OBJECT_FINALIZE", bucketId="../x", objectId="y")
    gcp.put(name, bucket, "cut.json.gz", gzip.compress(lines("cut"), 0)[:-20])
    gcp.put(name, bucket, "good.json", lines("good"))
    site = Site(tmp_path / "site", gcp, name, topic)
    site.drain()
    assert site.events()["good"] == 1
    assert {"not_found", "unknown_message"} <= set(site.rejects())
    assert gcp.left(name) == []
    assert [held.message.attributes["ingestd_reason"] for held in gcp.left(dead)] == ["unknown_message"]


@pytest.mark.parametrize("failpoint", ["source.before_ack", pytest.param("source.after_ack", marks=pytest.mark.slow)])
def test_a_daemon_that_is_killed_writes_nothing_twice(gcp: Gcp, tmp_path: Path, failpoint: str) -> None:
    """What it held comes again when its leases end; the ledger knows what is committed."""
    bucket, name = gcp.bucket(), gcp.subscription(is_exactly_once=True)
    for number in range(5):
        gcp.put(name, bucket, f"{number}.json", lines(f"o{number}"))
        gcp.send(name, lines(f"m{number}"))
    site = Site(tmp_path / "site", gcp, name, gcp.topic())
    assert site.run(failpoint=failpoint) != 0
    site.drain_until_all_gone(runs=3)
    assert site.events() == once_each(*(f"{kind}{number}" for kind in "om" for number in range(5)))


@pytest.mark.parametrize("share", [pytest.param(0.05, marks=pytest.mark.slow), 0.2])
async def test_services_that_fail_now_and_then(gcp: Gcp, tmp_path: Path, share: float) -> None:
    """Calls refused, answers lost, bodies cut: each record once, nothing left, nothing looping."""
    dice = random.Random(7)
    codes = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def of_pubsub(method: str, request: Any) -> Fault | None:
        return Fault(dice.choice(codes), after=dice.random() < 0.5) if dice.random() < share else None

    def of_storage(seen: Seen) -> ProxyFault | None:
        return dice.choice((Refuse(503), Refuse(429), Cut(0), Cut(100))) if dice.random() < share else None

    bucket, name = gcp.bucket(), gcp.subscription()
    for number in range(40):
        gcp.put(name, bucket, f"{number}.json", lines(f"o{number}", f"p{number}"))
        gcp.send(name, lines(f"m{number}"))
    async with in_front_of(gcp.storage.url) as proxy:
        proxy.rule = of_storage
        gcp.pubsub.rule = of_pubsub
        site = Site(tmp_path / "site", gcp, name, gcp.topic(), storage=proxy.url, lease_secs=10)
        await asyncio.to_thread(site.drain_until_all_gone, 8)
    assert site.events() == once_each(*(f"{kind}{number}" for kind in "opm" for number in range(40)))
    assert site.rejects() == Counter()


@pytest.mark.slow
def test_two_daemons_share_a_subscription(gcp: Gcp, tmp_path: Path) -> None:
    """On one state: each record once."""
    bucket, name = gcp.bucket(), gcp.subscription()
    for number in range(60):
        gcp.put(name, bucket, f"{number}.json", lines(f"o{number}"))
    site = Site(tmp_path / "site", gcp, name, gcp.topic())
    both = [site.start(), site.start()]
    assert [daemon.wait(120) for daemon in both] == [0, 0], site.log_tail()
    site.drain_until_all_gone(runs=3)
    assert site.events() == once_each(*(f"o{number}" for number in range(60)))
