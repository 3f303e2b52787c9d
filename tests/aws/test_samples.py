"""`parse` and `infer-schema` on what lies in a bucket, and on what a source could not read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import yaml

from tests.aws.servers import REGION, Aws
from tests.aws.site import Site
from tests.cli.conftest import Ingestd, ingestd
from tests.proofs.hostile import record

__all__ = ["ingestd"]

CONFIG = "sources: {{trail: {{type: aws_sqs, queue_url: '{url}/1/q', endpoint_url: '{url}', region: {region}}}}}\n"
ORDERS = [{"order": f"n{at}", "at": "2024-05-01T10:00:00Z", "peer": "10.0.0.1"} for at in range(3)]


@pytest.fixture
def bucket(ministack: Aws) -> str:
    """A bucket with 30 files of CloudTrail, and what is no log."""
    bucket = ministack.bucket()
    for number in range(30):
        data = gzip.compress(json.dumps({"Records": [record(f"e{number}")]}).encode())
        ministack.put(bucket, f"AWSLogs/{number:02}.json.gz", data)
    ministack.put(bucket, "AWSLogs/folder/", b"")
    ministack.put(bucket, "shop/orders.jsonl", "\n".join(map(json.dumps, ORDERS)).encode())
    return bucket


@pytest.fixture
def config(ministack: Aws, tmp_path: Path) -> Path:
    """A configuration with a source that reads the server's buckets."""
    file = tmp_path / "ingestd.yml"
    file.write_text(CONFIG.format(url=ministack.url, region=REGION))
    return file


def test_objects_are_parsed_as_the_source_reads_them(ingestd: Ingestd, bucket: str, config: Path) -> None:
    """A sample of ten, spread over the prefix, or all of them."""
    ended = ingestd("parse", "-c", config, f"s3://{bucket}/AWSLogs/")
    assert "10 events, 0 rejects" in ended.err
    ids = [json.loads(line)["eventID"] for line in ended.out.splitlines()]
    assert len(set(ids)) == 10
    assert {event_id[1:].zfill(2)[0] for event_id in ids} == {"0", "1", "2"}
    assert "30 events, 0 rejects" in ingestd("parse", "-c", config, "--objects", "0", f"s3://{bucket}/AWSLogs/").err


def test_one_object_may_be_named(ingestd: Ingestd, bucket: str, config: Path) -> None:
    """And told by its address."""
    url = f"s3://{bucket}/AWSLogs/07.json.gz"
    ended = ingestd("parse", "-c", config, "--json", url)
    assert [json.loads(line)["file"] for line in ended.out.splitlines()] == [url]


def test_without_a_configuration_the_environment_is_asked(
    ingestd: Ingestd, ministack: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every tool for AWS does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    assert "1 events, 0 rejects" in ingestd("parse", f"s3://{bucket}/AWSLogs/00.json.gz").err


def test_a_schema_is_inferred_from_objects(ingestd: Ingestd, bucket: str, config: Path) -> None:
    """Named after the first object."""
    schema = yaml.safe_load(ingestd("infer-schema", "-c", config, f"s3://{bucket}/shop/").out)
    assert schema["schema"] == "Custom.Orders"
    assert [field["name"] for field in schema["fields"]] == ["order", "at", "peer"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["parse", "s3://{bucket}/nothing/"], 1, "there is no object under this prefix"),
        (["parse", "s3://no-such-bucket-anywhere/"], 1, "there is no such bucket"),
        (["parse", "--source", "other", "s3://{bucket}/"], 78, "those that do: trail"),
        (["parse", "ftp://{bucket}/"], 78, "there is no store 'ftp'"),
        (["infer-schema"], 2, "--rejects with --source"),
        (["infer-schema", "--rejects"], 2, "needs one of trail"),
    ],
)
def test_a_mistake_is_told(
    ingestd: Ingestd, bucket: str, config: Path, arguments: list[str], code: int, text: str
) -> None:
    """In one line."""
    ended = ingestd(*(argument.format(bucket=bucket) for argument in arguments), "-c", config)
    assert (ended.code, text in " ".join(ended.err.split())) == (code, True), ended.err


def test_a_schema_is_inferred_from_what_did_not_fit(ingestd: Ingestd, ministack: Aws, tmp_path: Path) -> None:
    """Records of the source that no schema took, once they are in the table of rejects."""
    bucket, site = ministack.bucket(), Site(tmp_path / "site", ministack, ministack.queue(), ministack.queue())
    ministack.notify_queue(bucket, site.queue)
    ministack.put(bucket, "orders.jsonl", "\n".join(map(json.dumps, ORDERS)).encode())
    ministack.put(bucket, "cut.json.gz", gzip.compress(json.dumps({"Records": [record("x")]}).encode())[:-9])
    site.drain()
    ended = ingestd("infer-schema", "--rejects", "--source", "trail", "-c", site.folder / "ingestd.yml")
    schema = yaml.safe_load(ended.out)
    assert schema["schema"] == "Custom.Trail"
    assert [field["name"] for field in schema["fields"]] == ["order", "at", "peer"]
    assert "3 records" in ended.err
