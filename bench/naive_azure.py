"""The straightforward way to read blobs by Event Grid's notices, to measure against: what one writes first.

python -m bench.naive_azure CONNECTION-STRING QUEUE
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
from typing import Any

from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient

CONSUMERS = 16


async def consume(queue: Any, blobs: Any) -> int:
    """Receive, read, parse and delete until nothing comes any more; the records found."""
    records, received = 0, 1
    while received:
        received = 0
        async for page in queue.receive_messages(messages_per_page=32, visibility_timeout=300).by_page():
            async for message in page:
                received += 1
                found = json.loads(base64.b64decode(message.content))
                container, _, name = (
                    found["subject"].removeprefix("/blobServices/default/containers/").partition("/blobs/")
                )
                stream = await blobs.get_blob_client(container, name).download_blob(max_concurrency=1)
                data = await stream.readall()
                if data.startswith(b"\x1f\x8b"):
                    data = gzip.decompress(data)
                records += len(json.loads(data)["Records"])
                await queue.delete_message(message)
            break
    return records


async def main(connection_string: str, name: str) -> None:
    """Several consumers at once."""
    async with (
        QueueClient.from_connection_string(connection_string, name) as queue,
        BlobServiceClient.from_connection_string(connection_string) as blobs,
    ):
        await asyncio.gather(*(consume(queue, blobs) for _ in range(CONSUMERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
