"""A service that fails often, and daemons that die: each record once, no message left, none set aside."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.aws.proxy import Cut, Delay, Drip, Fault, Hold, Refuse, Seen, in_front_of
from tests.aws.servers import Aws
from tests.aws.site import Site
from tests.proofs.hostile import record

OBJECTS = 40
RECORDS = 3
FAULTS: tuple[Fault, ...] = (
    Refuse(500),
    Refuse(503, "SlowDown"),
    Refuse(400, "RequestTimeout"),
    Cut(after=0),
    Cut(after=100),
    Delay(0.3),
    Drip(0.3),
)


def fill(aws: Aws, queue: str, objects: int = OBJECTS) -> Counter[str]:
    """Objects in a bucket, each told of twice; their event ids."""
    bucket = aws.bucket()
    aws.notify_queue(bucket, queue)
    wanted: Counter[str] = Counter()
    for number in range(objects):
        ids = [f"{number}-{index}" for index in range(RECORDS)]
        wanted.update(ids)
        data = gzip.compress(json.dumps({"Records": [record(event_id) for event_id in ids]}).encode())
        for _ in range(2):
            aws.put(bucket, f"AWSLogs/{number}.json.gz", data)
    return wanted


@pytest.mark.parametrize(
    ("probability", "objects"),
    [
        (0.2, OBJECTS),
        pytest.param(0.05, 1_000, marks=pytest.mark.slow),
        pytest.param(0.2, 1_000, marks=pytest.mark.slow),
    ],
)
async def test_a_service_that_fails_often_costs_only_time(
    ministack: Aws, tmp_path: Path, probability: float, objects: int
) -> None:
    """Errors, throttling, and answers that are late, slow or cut off, on every kind of call."""
    queue, dead_letters = ministack.queue(), ministack.queue()
    wanted = fill(ministack, queue, objects)
    dice = random.Random(7)

    def fault(seen: Seen) -> Fault | None:
        return dice.choice(FAULTS) if dice.random() < probability else None

    async with in_front_of(ministack.url) as proxy:
        proxy.rule = fault
        site = Site(tmp_path / "site", ministack, queue, dead_letters, endpoint=proxy.url, lease_secs=5)
        await asyncio.to_thread(site.drain_until_all_gone, 20)
    assert site.events() == wanted
    assert site.rejects() == Counter()
    assert ministack.messages(dead_letters) == (0, 0)


@pytest.mark.parametrize(
    "failpoint",
    [
        "lake.after_commit",
        "source.before_ack",
        pytest.param("lake.before_commit", marks=pytest.mark.slow),
        pytest.param("source.after_ack", marks=pytest.mark.slow),
    ],
)
def test_a_daemon_that_dies_loses_and_repeats_nothing(ministack: Aws, tmp_path: Path, failpoint: str) -> None:
    """Its messages come back when their leases run out, and the ledger knows what was read."""
    queue, dead_letters = ministack.queue(), ministack.queue()
    wanted = fill(ministack, queue)
    site = Site(tmp_path / "site", ministack, queue, dead_letters, lease_secs=2)
    assert site.run(failpoint=failpoint) == -9
    site.drain_until_all_gone(10)
    assert site.events() == wanted
    assert site.rejects() == Counter()
    assert ministack.messages(dead_letters) == (0, 0)


async def test_work_that_takes_ten_leases_is_done_once(ministack: Aws, tmp_path: Path) -> None:
    """The lease is extended while the object is read, and no one else gets the message."""
    bucket, queue, dead_letters = ministack.bucket(), ministack.queue(), ministack.queue()
    ministack.notify_queue(bucket, queue)
    ministack.put(bucket, "AWSLogs/a.json.gz", gzip.compress(json.dumps({"Records": [record("a")]}).encode()))
    read_on = asyncio.Event()

    async with in_front_of(ministack.url) as proxy:

        def rule(seen: Seen) -> Fault | None:
            if len(proxy.operations("sqs ChangeMessageVisibilityBatch")) == 20:  # at half a lease each
                read_on.set()
            return Hold(read_on) if seen.operation == "s3 GET" else None

        proxy.rule = rule
        site = Site(tmp_path / "site", ministack, queue, dead_letters, endpoint=proxy.url, lease_secs=1)
        await asyncio.to_thread(site.drain)
        assert len(proxy.operations("s3 GET")) == 1
    assert site.events() == Counter(["a"])
    assert ministack.messages(queue) == (0, 0)
