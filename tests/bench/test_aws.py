"""The bench of objects in S3 runs, and its server behaves as a queue does."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from bench.aws_server import Bucket, Queue, Settings, Stats, key_of, lines, small_object

ROOT = Path(__file__).resolve().parents[2]


def queue_of(messages: int, copies: int = 1) -> tuple[Queue, Stats]:
    """A queue and what it counts."""
    stats = Stats(requests=defaultdict(int))
    return Queue(Settings(messages=messages, copies=copies), stats), stats


def test_it_prints_each_side() -> None:
    """The server's limit, the straightforward loop and the daemon, in one run."""
    command = [sys.executable, "-m", "bench.aws", "--small", "60", "--big", "0", "--readers", "fast"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    for name in ("the server can give", "receive, get, json.loads", "daemon, reader: fast"):
        assert name in output


def test_a_message_is_one_consumers_until_its_time_is_up() -> None:
    """Then it comes again, and the first receipt is worth nothing."""
    queue, stats = queue_of(1)
    first = queue.receive({"MaxNumberOfMessages": 10, "VisibilityTimeout": 1000})["Messages"]
    assert len(first) == 1
    assert queue.receive({"MaxNumberOfMessages": 10}) == {}
    queue.extend({"Entries": [{"Id": "0", "ReceiptHandle": first[0]["ReceiptHandle"], "VisibilityTimeout": "0"}]})
    (again,) = queue.receive({"MaxNumberOfMessages": 10, "VisibilityTimeout": 1000})["Messages"]
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"
    refused = queue.delete({"Entries": [{"Id": "0", "ReceiptHandle": first[0]["ReceiptHandle"]}]})
    assert len(refused["Failed"]) == 1
    queue.delete({"Entries": [{"Id": "0", "ReceiptHandle": again["ReceiptHandle"]}]})
    assert stats.left == 0


def test_each_object_is_told_of_as_often_as_asked() -> None:
    """Two messages with the same body are two messages."""
    queue, stats = queue_of(3, copies=2)
    bodies = [message["Body"] for message in queue.receive({"MaxNumberOfMessages": 10})["Messages"]]
    assert len(bodies) == 6
    assert len(set(bodies)) == 3
    assert stats.most_held == 6


def test_bytes_are_the_same_however_they_are_asked_for() -> None:
    """A range is a part of the whole."""
    whole = lines(0, 1_000_000)
    assert lines(300_001, 800_007) == whole[300_001:800_007]
    bucket = Bucket(Settings(kind="small"), Stats(requests=defaultdict(int)))
    assert bucket.piece(key_of("small", 7), 0, 2_000) == small_object(7)
