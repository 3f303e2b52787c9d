"""Where a daemon finds objects, in each cloud and in a folder: one way to put them there and to see what is left."""

from __future__ import annotations

import json
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from obstore.store import AzureStore, S3Store

from tests.aws.servers import REGION, Aws
from tests.azure.servers import KEY, NAME, Azure, event, in_base64
from tests.gcp.servers import Gcp

RECEIVES = 1_000
"""How often a message may be handed out before it is set aside: kills use up receives."""
PLAIN_HTTP: Any = {"allow_http": True}


class Place(Protocol):
    """A queue and what it tells of, or a folder."""

    name: str
    source: dict[str, Any]
    """The section of the configuration that reads it, without routes."""

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """Write an object that is told of so many times."""

    def left(self) -> int:
        """Messages that are not finished, those that are held included."""

    def set_aside(self) -> int:
        """Messages that were given up."""


@dataclass
class InAws:
    """A bucket that tells a queue, which gives up to another queue."""

    aws: Aws
    lease_secs: int
    name: str = "aws"

    def __post_init__(self) -> None:
        self._dead_letters = self.aws.queue()
        redrive = {"deadLetterTargetArn": self.aws.queue_arn(self._dead_letters), "maxReceiveCount": RECEIVES}
        self._queue = self.aws.queue(RedrivePolicy=json.dumps(redrive))
        bucket = self.aws.bucket()
        self.aws.notify_queue(bucket, self._queue)
        self._objects = S3Store(
            bucket,
            endpoint=self.aws.url,
            region=REGION,
            access_key_id="testing",
            secret_access_key="testing",
            client_options=PLAIN_HTTP,
        )
        self.source = {
            "type": "aws_sqs",
            "queue_url": self._queue,
            "dead_letter_queue_url": self._dead_letters,
            "endpoint_url": self.aws.url,
            "region": REGION,
            "lease_secs": self.lease_secs,
        }

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """See `Place`: each time it is written again with the same bytes."""
        for _ in range(times):
            self._objects.put(name, data)

    def left(self) -> int:
        """See `Place`."""
        return sum(self.aws.messages(self._queue))

    def set_aside(self) -> int:
        """See `Place`."""
        return sum(self.aws.messages(self._dead_letters))


@dataclass
class InAzure:
    """A container, and a queue as Event Grid would fill it, with a poison queue."""

    azure: Azure
    lease_secs: int
    folder: Path
    """Where its secret is kept."""
    name: str = "azure"

    def __post_init__(self) -> None:
        self._container, self._queue, self._poison = self.azure.container(), self.azure.queue(), self.azure.queue()
        self._messages = self.azure.queues.get_queue_client(self._queue)
        self._before: list[dict[str, Any]] = []
        self._blobs = AzureStore(
            self._container,
            account_name=NAME,
            account_key=KEY,
            endpoint=self.azure.blob_url,
            client_options=PLAIN_HTTP,
        )
        self.source = {
            "type": "azure_queue",
            "queue": self._queue,
            "poison_queue": self._poison,
            "connection_string": self.azure.secret(self.folder),
            "lease_secs": self.lease_secs,
            "max_receives": RECEIVES,
            "idle_poll_secs": 0.5,
        }

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """See `Place`: every message but the first names the blob before it as well."""
        etag = self._blobs.put(name, data)["e_tag"]
        url = f"{self.azure.blob_url}/{self._container}/{name}"
        found = event(self._container, name, url=url, eTag=etag)
        for number in range(times):
            self._messages.send_message(in_base64(json.dumps([*self._before, found] if number else found)))
        self._before = [found]

    def left(self) -> int:
        """See `Place`."""
        return self.azure.left(self._queue)

    def set_aside(self) -> int:
        """See `Place`."""
        return self.azure.left(self._poison)


@dataclass
class InGoogle:
    """A bucket that notifies a subscription, with a dead-letter topic."""

    gcp: Gcp
    lease_secs: int
    name: str = "google"

    def __post_init__(self) -> None:
        self._bucket, dead_letters = self.gcp.bucket(), self.gcp.topic()
        self._subscription = self.gcp.subscription(is_exactly_once=True)
        self._dead = self.gcp.subscription(dead_letters)
        self.source = {
            "type": "gcp_pubsub",
            "subscription": self._subscription,
            "dead_letter_topic": dead_letters,
            "pubsub_endpoint": self.gcp.pubsub_url,
            "storage_endpoint": self.gcp.storage.url,
            "lease_secs": self.lease_secs,
        }

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """See `Place`."""
        stored = self.gcp.storage.put(self._bucket, name, data)
        for _ in range(times):
            self.gcp.announce(self._subscription, stored)

    def left(self) -> int:
        """See `Place`."""
        return len(self.gcp.left(self._subscription))

    def set_aside(self) -> int:
        """See `Place`."""
        return len(self.gcp.left(self._dead))


LEFT_LYING = 5_000
"""Files that stay after they were read. The daemon knows each file that is there."""


@dataclass
class InFolder:
    """A folder of this machine: its messages are the source's own, and none of them can be left or set aside. Files
    that lie there for long go, as whoever writes logs has them go."""

    folder: Path
    name: str = "folder"
    source: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._inbox, self._arriving = self.folder / "inbox", self.folder / "arriving"
        for folder in (self._inbox, self._arriving):
            folder.mkdir(parents=True)
        self._lying: deque[Path] = deque()
        self.source = {"type": "directory", "path": str(self._inbox), "settle_secs": 0}

    def put(self, name: str, data: bytes, *, times: int = 1) -> None:
        """See `Place`: the file is there at once and as a whole."""
        flat = name.replace("/", "-")
        (self._arriving / flat).write_bytes(data)
        os.rename(self._arriving / flat, self._inbox / flat)
        self._lying.append(self._inbox / flat)
        if len(self._lying) > LEFT_LYING:
            self._lying.popleft().unlink()

    def left(self) -> int:
        """See `Place`."""
        return 0

    def set_aside(self) -> int:
        """See `Place`."""
        return 0
