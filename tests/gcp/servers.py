"""Google Cloud on loopback as tests begin with it: subscriptions, buckets whose writes are announced, and accounts.

Every test makes its own topics and buckets, under names of their own.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ingestd.cloud.gcp import Account
from tests.gcp import pubsub, storage
from tests.gcp.pubsub import PubSub
from tests.gcp.queueing import Held, Message, Settings
from tests.gcp.storage import Storage, Stored

_numbers = itertools.count(1)
CONFIG = "projects/_/buckets/{bucket}/notificationConfigs/1"


@dataclass
class Gcp:
    """Both servers, with the calls that tests begin with."""

    pubsub: PubSub
    storage: Storage

    @property
    def pubsub_url(self) -> str:
        """Where the messages are."""
        return f"http://{self.pubsub.address}"

    def account(self, storage_url: str = "") -> Account:
        """As a store or a source sees it."""
        return Account(pubsub_endpoint=self.pubsub_url, storage_endpoint=storage_url or self.storage.url)

    def topic(self) -> str:
        """A new topic."""
        name = f"projects/p/topics/topic-{next(_numbers)}"
        self.pubsub.broker.topics[name] = []
        return name

    def subscription(self, topic: str = "", **settings: Any) -> str:
        """A new subscription, of a new topic or of this one."""
        name = f"projects/p/subscriptions/logs-{next(_numbers)}"
        self.pubsub.broker.subscribe(name, Settings(topic=topic or self.topic(), **settings))
        return name

    def bucket(self) -> str:
        """A new bucket."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.storage.buckets[name] = {}
        return name

    def send(self, subscription: str, data: bytes, *, key: str = "", **attributes: str) -> str:
        """Publish to the topic of a subscription."""
        topic = self.pubsub.broker.subscriptions[subscription].settings.topic
        return self.pubsub.broker.publish(topic, Message(data, attributes, key))

    def announce(self, subscription: str, stored: Stored, kind: str = "OBJECT_FINALIZE") -> None:
        """What Cloud Storage tells of an object."""
        self.send(subscription, json.dumps(stored.resource()).encode(), **told(stored, kind))

    def put(self, subscription: str, bucket: str, name: str, data: bytes, *, encoding: str = "") -> Stored:
        """Write an object and announce it."""
        stored = self.storage.put(bucket, name, data, encoding=encoding)
        self.announce(subscription, stored)
        return stored

    def left(self, subscription: str) -> list[Held]:
        """Messages that are not acknowledged."""
        return list(self.pubsub.broker.subscriptions[subscription].messages.values())


def told(stored: Stored, kind: str = "OBJECT_FINALIZE") -> dict[str, str]:
    """The attributes of a notification."""
    return {
        "notificationConfig": CONFIG.format(bucket=stored.bucket),
        "eventType": kind,
        "payloadFormat": "JSON_API_V1",
        "bucketId": stored.bucket,
        "objectId": stored.name,
        "objectGeneration": str(stored.generation),
        "eventTime": "2024-05-01T10:00:00.123456Z",
    }


@pytest.fixture(autouse=True)
def no_google_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the machine's own identities."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "PUBSUB_", "STORAGE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def gcp() -> Iterator[Gcp]:
    """Both servers, new: they start in a moment."""
    with pubsub.running() as messages, storage.running() as objects:
        yield Gcp(messages, objects)
