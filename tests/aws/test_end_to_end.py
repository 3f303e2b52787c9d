"""From a bucket by its notices into the lake: nothing lost, nothing twice, nothing left in the queue."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.aws.servers import Aws
from tests.aws.site import Site
from tests.proofs.hostile import record

WAYS: dict[str, Callable[[Aws, str, str], None]] = {
    "S3 to SQS": Aws.notify_queue,
    "S3 to SNS to SQS": partial(Aws.notify_topic, raw=False),
    "S3 to SNS to SQS, raw": partial(Aws.notify_topic, raw=True),
}


def trail(*ids: str) -> bytes:
    """A CloudTrail file."""
    return gzip.compress(json.dumps({"Records": [record(event_id) for event_id in ids]}).encode())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_bucket_of_all_kinds_of_objects(aws: Aws, way: Callable[[Aws, str, str], None], tmp_path: Path) -> None:
    """Each way of notices: every record once in the lake, and each message acknowledged or set aside."""
    bucket, queue, dead_letters = aws.bucket(), aws.queue(), aws.queue()
    way(aws, bucket, queue)
    aws.put(bucket, "AWSLogs/one.json.gz", trail("a", "b", "c"))
    aws.put(bucket, "AWSLogs/odd/a b+c=ü%2B.json.gz", trail("d"))
    aws.put(bucket, "AWSLogs/again.json.gz", trail("e"))
    aws.put(bucket, "AWSLogs/again.json.gz", trail("e"))
    aws.put(bucket, "AWSLogs/empty.json.gz", b"")
    aws.put(bucket, "AWSLogs/folder/", b"")
    aws.put(bucket, "AWSLogs/cut.json.gz", trail("f" * 40)[:-20])
    aws.put(bucket, "AWSLogs/gone.json.gz", trail("g"))
    aws.client("s3").delete_object(Bucket=bucket, Key="AWSLogs/gone.json.gz")
    aws.send(queue, "what is this?")

    site = Site(tmp_path / "site", aws, queue, dead_letters)
    site.drain()

    assert site.events() == Counter(["a", "b", "c", "d", "e"])
    assert site.rejects()["not_found"] == 1
    assert site.rejects()["unknown_message"] == 1
    assert aws.messages(queue) == (0, 0)
    (letter,) = aws.peek(dead_letters)
    assert letter["Body"] == "what is this?"
    assert letter["MessageAttributes"]["ingestd_reason"]["StringValue"] == "unknown_message"


def test_an_object_that_was_overwritten_is_read_in_both_versions(ministack: Aws, tmp_path: Path) -> None:
    """In a versioned bucket the version of each notice is read."""
    bucket, queue = ministack.bucket(versioned=True), ministack.queue()
    ministack.notify_queue(bucket, queue)
    ministack.put(bucket, "AWSLogs/a.json.gz", trail("old"))
    ministack.put(bucket, "AWSLogs/a.json.gz", trail("new"))
    site = Site(tmp_path / "site", ministack, queue, ministack.queue())
    site.drain()
    assert site.events() == Counter(["old", "new"])


def test_a_message_cannot_name_a_file_of_this_machine(ministack: Aws, tmp_path: Path) -> None:
    """Whoever may send into the queue reads objects by it, and nothing else."""
    queue, dead_letters = ministack.queue(), ministack.queue()
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(record("secret")))
    ministack.send(queue, json.dumps({"ingestd": "file", "root": str(tmp_path), "path": "secret.json", "size": 9}))
    ministack.send(queue, json.dumps({"objects": [{"store": "file", "bucket": str(tmp_path), "key": "secret.json"}]}))
    site = Site(tmp_path / "site", ministack, queue, dead_letters)
    site.drain()
    assert site.events() == Counter()
    assert site.rejects() == Counter({"unknown_store": 2})
    assert len(ministack.peek(dead_letters)) == 2


@pytest.mark.parametrize("failpoint", ["", "lake.after_commit"])
def test_messages_that_are_events_themselves(ministack: Aws, tmp_path: Path, failpoint: str) -> None:
    """Plain, in base64 and gzip, several in one: each event once, also when a daemon dies before it acknowledges."""
    queue, dead_letters = ministack.queue(), ministack.queue()
    ministack.send(queue, json.dumps(record("a")))
    ministack.send(queue, base64.b64encode(gzip.compress(json.dumps(record("b")).encode())).decode())
    ministack.send(queue, "\n".join(json.dumps(record(name)) for name in "cd"))
    ministack.send(queue, json.dumps({"Records": [record("e"), record("f")]}))
    site = Site(tmp_path / "site", ministack, queue, dead_letters, lease_secs=2, payload="message")
    if failpoint:
        assert site.run(failpoint=failpoint) == -9
    site.drain_until_all_gone(10)
    assert site.events() == Counter("abcdef")
    assert site.rejects() == Counter()
    assert ministack.messages(dead_letters) == (0, 0)
