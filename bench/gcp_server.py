"""Pub/Sub and Cloud Storage on loopback with messages and objects in them, in a process of their own.

python -m bench.gcp_server '{"messages": 1000}'     prints where they are; at each line of its input, what it did
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import msgspec

from bench.aws_server import big_object, small_object
from tests.gcp import pubsub, storage
from tests.gcp.servers import Gcp
from tests.gcp.test_end_to_end import entry

BUCKET = "bench"
LEASE_SECS = 600.0
"""Long enough for a loop that does not extend it, so that nothing is read twice."""
PULL_SECS = 1.0
"""How long a pull waits for messages: no more will come."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What lies there."""

    messages: int = 0
    kind: str = "small"
    """`small` objects of 1 KB, `big` ones of 10 MB gzip; `event`: each message is one record."""


class Stats(msgspec.Struct, kw_only=True):
    """What was asked for."""

    left: int = 0
    first_pull: float = 0.0
    last_acknowledge: float = 0.0


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    pubsub: str
    storage: str
    subscription: str
    paths: list[str]
    """Of the objects, for whoever only wants their bytes."""


def event(number: int) -> bytes:
    """A record of the audit logs, as a log sink publishes it."""
    return json.dumps(entry(f"event-{number}")).encode()


def thing(kind: str, number: int) -> bytes:
    """What is read in the end: an object, or the data of a message."""
    if kind == "event":
        return event(number)
    return big_object() if kind == "big" else small_object(number)


def _fill(gcp: Gcp, settings: Settings) -> Places:
    subscription = gcp.subscription(ack_deadline_secs=LEASE_SECS)
    paths = []
    gcp.storage.buckets[BUCKET] = {}
    for number in range(settings.messages):
        data = thing(settings.kind, number)
        if settings.kind == "event":
            gcp.send(subscription, data)
        else:
            stored = gcp.put(subscription, BUCKET, f"{settings.kind}-{number}", data)
            paths.append(f"/download/storage/v1/b/{BUCKET}/o/{stored.name}?alt=media")
    return Places(pubsub=gcp.pubsub_url, storage=gcp.storage.url, subscription=subscription, paths=paths)


def main() -> None:
    """Serve until the input ends."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    stats = Stats()
    pubsub.LONGEST_PULL_SECS = PULL_SECS

    def note(method: str, request: Any) -> None:
        if method == "Pull":
            stats.first_pull = stats.first_pull or time.monotonic()
        if method == "Acknowledge":
            stats.last_acknowledge = time.monotonic()

    with pubsub.running() as messages, storage.running() as objects:
        gcp = Gcp(messages, objects)
        places = _fill(gcp, settings)
        messages.rule = note
        print(msgspec.json.encode(places).decode(), flush=True)
        for _ in sys.stdin:
            stats.left = len(gcp.left(places.subscription))
            print(msgspec.json.encode(stats).decode(), flush=True)


if __name__ == "__main__":
    main()
