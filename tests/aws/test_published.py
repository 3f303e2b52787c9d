"""Data of lookup tables in a bucket, fetched with the credentials of a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestd import assembly
from ingestd.config.models import Root
from ingestd.detections.timetable import PublishedTable
from tests.aws.servers import REGION, Aws


@pytest.mark.usefixtures("aws_credentials")
async def test_a_table_is_fetched_from_a_bucket(moto: Aws, tmp_path: Path) -> None:
    """And again once its object is another."""
    bucket = moto.bucket()
    source = {"type": "aws_sqs", "queue_url": moto.queue(), "endpoint_url": moto.url, "region": REGION}
    root = Root.model_validate(
        {"sources": {"trail": source}, "enrichment": {"paths": [tmp_path], "fetch_with": "trail"}}
    )
    publisher = assembly.publisher(root)
    assert publisher is not None
    table = PublishedTable(name="users", url=f"s3://{bucket}/luts/users.csv", period_minutes=1e-9)
    for text in (b"id,team\nana,blue\n", b"id,team\nana,red\n"):
        moto.put(bucket, "luts/users.csv", text)
        await publisher.turn([table])
        assert (tmp_path / "users.csv").read_bytes() == text
    await publisher.close()


def test_a_backfill_of_another_source_fetches_nothing(tmp_path: Path) -> None:
    """The source whose credentials are used is not there."""
    enrichment = {"paths": [tmp_path], "fetch_with": "trail"}
    root = Root.model_validate({"sources": {"other": {"type": "memory"}}, "enrichment": enrichment})
    assert assembly.publisher(root) is None
