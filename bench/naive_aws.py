"""The straightforward way to read objects by their notices, to measure against: what one writes first.

python -m bench.naive_aws URL
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from typing import Any
from urllib.parse import unquote_plus

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from bench.aws_server import QUEUE_PATH

CONSUMERS = 16


async def consume(sqs: Any, s3: Any, queue: str) -> int:
    """Receive, read, parse and delete until nothing comes any more; the records found."""
    records = 0
    while messages := (await sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)).get("Messages"):
        for message in messages:
            for record in json.loads(message["Body"])["Records"]:
                place = record["s3"]
                answer = await s3.get_object(Bucket=place["bucket"]["name"], Key=unquote_plus(place["object"]["key"]))
                data = await answer["Body"].read()
                if data.startswith(b"\x1f\x8b"):
                    data = gzip.decompress(data)
                records += len(json.loads(data)["Records"])
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        await sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
    return records


async def main(url: str) -> None:
    """Several consumers at once."""
    session = get_session()
    config = AioConfig(max_pool_connections=CONSUMERS, s3={"addressing_style": "path"})
    where = {"region_name": "eu-central-1", "endpoint_url": url, "config": config}
    async with session.create_client("sqs", **where) as sqs, session.create_client("s3", **where) as s3:
        await asyncio.gather(*(consume(sqs, s3, url + QUEUE_PATH) for _ in range(CONSUMERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
