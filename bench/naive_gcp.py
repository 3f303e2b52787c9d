"""The straightforward way to read Pub/Sub and Cloud Storage by Google's clients, to measure against.

python -m bench.naive_gcp SUBSCRIPTION objects|events
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import SubscriberAsyncClient

CONSUMERS = 4
THREADS = 16
MESSAGES = 1_000


def read(client: storage.Client, attributes: Any) -> int:
    """Records in the object that a notification names. The client has nothing for an event loop."""
    data = client.bucket(attributes["bucketId"]).blob(attributes["objectId"]).download_as_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return len(json.loads(data)["Records"])


async def consume(subscriber: SubscriberAsyncClient, client: storage.Client | None, subscription: str) -> int:
    """Pull, read, parse and acknowledge until nothing comes any more; the records found."""
    records = 0
    most = THREADS if client is not None else MESSAGES
    while pulled := (await subscriber.pull(subscription=subscription, max_messages=most)).received_messages:
        if client is None:
            records += sum("insertId" in json.loads(one.message.data) for one in pulled)
        else:
            counts = (asyncio.to_thread(read, client, one.message.attributes) for one in pulled)
            records += sum(await asyncio.gather(*counts))
        await subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id for one in pulled])
    return records


async def main(subscription: str, what: str) -> None:
    """Several consumers at once."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client(project="p", credentials=nobody) if what == "objects" else None
    subscriber = SubscriberAsyncClient()
    await asyncio.gather(*(consume(subscriber, client, subscription) for _ in range(CONSUMERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
