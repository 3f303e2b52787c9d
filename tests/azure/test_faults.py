"""A service that fails often, and daemons that die: each record once, no message left, none set aside."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from obstore.store import AzureStore

from tests.azure.proxy import Cut, Fault, Hold, Refuse, Seen, in_front_of, operation, operations
from tests.azure.servers import KEY, NAME, Azure, event, in_base64
from tests.azure.site import Site
from tests.proofs.hostile import record

OBJECTS = 40

RECORDS = 3
FAULTS: tuple[Fault, ...] = (
    Refuse(500),
    Refuse(503, "ServerBusy"),
    Refuse(500, "OperationTimedOut"),
    Cut(after=0),
    Cut(after=100),
)


def fill(azure: Azure, queue: str, objects: int = OBJECTS) -> Counter[str]:
    """Blobs in a container, each told of twice; their event ids."""
    container = azure.container()
    store = AzureStore(
        container, account_name=NAME, account_key=KEY, endpoint=azure.blob_url, client_options={"allow_http": True}
    )
    wanted: Counter[str] = Counter()
    for number in range(objects):
        ids = [f"{number}-{index}" for index in range(RECORDS)]
        wanted.update(ids)
        data = gzip.compress(json.dumps({"Records": [record(event_id) for event_id in ids]}).encode(), 1)
        etag = store.put(f"{number}.json.gz", data)["e_tag"]
        for _ in range(2):
            azure.send(queue, in_base64(json.dumps(event(container, f"{number}.json.gz", eTag=etag))))
    return wanted


@pytest.mark.parametrize(
    ("probability", "objects"),
    [
        pytest.param(0.05, OBJECTS, marks=pytest.mark.slow),
        pytest.param(0.2, OBJECTS, marks=pytest.mark.slow),
        (0.2, 8),
    ],
)
async def test_a_service_that_fails_often_costs_only_time(
    azure: Azure, tmp_path: Path, probability: float, objects: int
) -> None:
    """Errors, throttling and broken bodies on every kind of call to queues and blobs."""
    queue, poison = azure.queue(), azure.queue()
    wanted = fill(azure, queue, objects)
    dice = random.Random(7)

    def fault(seen: Seen) -> Fault | None:
        return dice.choice(FAULTS) if dice.random() < probability else None

    async with (
        in_front_of(azure.blob_url.rpartition("/")[0]) as blobs,
        in_front_of(azure.queue_url.rpartition("/")[0]) as queues,
    ):
        blobs.rule = queues.rule = fault
        urls = (f"{blobs.url}/{NAME}", f"{queues.url}/{NAME}")
        site = Site(tmp_path / "site", azure, queue, poison, *urls, lease_secs=3)
        await asyncio.to_thread(site.drain_until_all_gone, 20)
    assert site.events() == wanted
    assert site.rejects() == Counter()
    assert azure.left(poison) == 0


@pytest.mark.parametrize(
    "failpoint",
    [
        "lake.after_commit",
        pytest.param("source.before_ack", marks=pytest.mark.slow),
        pytest.param("lake.before_commit", marks=pytest.mark.slow),
        pytest.param("source.after_ack", marks=pytest.mark.slow),
    ],
)
def test_a_daemon_that_dies_loses_and_repeats_nothing(azure: Azure, tmp_path: Path, failpoint: str) -> None:
    """Its messages come back when their leases run out, and the ledger knows what was read."""
    queue, poison = azure.queue(), azure.queue()
    wanted = fill(azure, queue)
    site = Site(tmp_path / "site", azure, queue, poison, lease_secs=2)
    assert site.run(failpoint=failpoint) == -9
    site.drain_until_all_gone(10)
    assert site.events() == wanted
    assert site.rejects() == Counter()
    assert azure.left(poison) == 0


@pytest.mark.slow
async def test_work_that_takes_ten_leases_is_done_once(azure: Azure, tmp_path: Path) -> None:
    """The lease is extended while the blob is read, and no one else gets the message."""
    container, queue, poison = azure.container(), azure.queue(), azure.queue()
    azure.put(container, "a.json.gz", gzip.compress(json.dumps({"Records": [record("a")]}).encode()))
    azure.announce(queue, container, "a.json.gz")
    read_on = asyncio.Event()
    async with (
        in_front_of(azure.blob_url.rpartition("/")[0]) as blobs,
        in_front_of(azure.queue_url.rpartition("/")[0]) as queues,
    ):

        def rule(seen: Seen) -> Fault | None:
            if len(operations(queues, "update")) >= 20:  # one at half of each lease
                read_on.set()
            return Hold(read_on) if operation(seen) == "read" else None

        blobs.rule = queues.rule = rule
        urls = (f"{blobs.url}/{NAME}", f"{queues.url}/{NAME}")
        site = Site(tmp_path / "site", azure, queue, poison, *urls, lease_secs=1)
        await asyncio.to_thread(site.drain)
        assert len(operations(blobs, "read")) == 1
    assert site.events() == Counter(["a"])
    assert azure.left(queue) == 0


def test_a_message_that_never_ends_well_is_set_aside(azure: Azure, tmp_path: Path) -> None:
    """A storage queue has no limit of its own: one that was handed out too often goes to the poison queue."""
    container, queue, poison = azure.container(), azure.queue(), azure.queue()
    azure.put(container, "a.json", json.dumps(record("a")).encode())
    azure.announce(queue, container, "a.json")
    client = azure.queues.get_queue_client(queue)
    for _ in range(10):
        message = client.receive_message()
        assert message is not None
        client.update_message(message, visibility_timeout=0)
    site = Site(tmp_path / "site", azure, queue, poison, more="max_receives: 10")
    site.drain()
    (letter,) = azure.peek(poison)
    assert json.loads(letter)["ingestd_reason"] == "received_too_often"
    assert site.rejects() == Counter(["received_too_often"])
    assert site.events() == Counter()
