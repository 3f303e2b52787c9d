"""Two servers that play AWS on loopback, and what tests need to set things up in them.

`ministack` answers as AWS does in most respects; `moto` differs usefully: it encodes `/` in keys, has no versions in
its notices and forgives stale receipts. Every test makes its own buckets and queues, under names of their own.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config as BotoConfig

from ingestd.cloud.aws import Account
from tests.ports import free_port

REGION = "eu-central-1"
ROOT = Path(__file__).resolve().parents[2]
START_SECS = 120.0
"""Long, because the first start of ministack installs it."""
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
_numbers = itertools.count(1)

COMMANDS = {
    "ministack": [str(ROOT / "scripts/ministack"), "{port}"],
    "moto": [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"],
}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Aws:
    """A running server, with the calls that tests begin with."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.account = Account(region=REGION, endpoint_url=url)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A blocking client."""
        if service not in self._clients:
            self._clients[service] = botocore.session.get_session().create_client(
                service,
                region_name=REGION,
                endpoint_url=self.url,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
                config=BotoConfig(s3={"addressing_style": "path"}),
            )
        return self._clients[service]

    def bucket(self, *, versioned: bool = False) -> str:
        """A new bucket."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        s3 = self.client("s3")
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(self, bucket: str, key: str, data: bytes) -> dict[str, Any]:
        """Write an object."""
        answer: dict[str, Any] = self.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
        return answer

    def queue(self, *, fifo: bool = False, **attributes: str) -> str:
        """A new queue; its URL."""
        name = f"queue-{os.getpid()}-{next(_numbers)}" + (".fifo" if fifo else "")
        if fifo:
            attributes |= {"FifoQueue": "true"}
        url: str = self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def queue_arn(self, queue_url: str) -> str:
        """ARN of a queue."""
        answer = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    def send(self, queue_url: str, body: str, **more: Any) -> None:
        """Put a message into a queue."""
        if queue_url.endswith(".fifo"):
            number = str(next(_numbers))
            more = {"MessageGroupId": number, "MessageDeduplicationId": number} | more
        self.client("sqs").send_message(QueueUrl=queue_url, MessageBody=body, **more)

    def peek(self, queue_url: str) -> list[dict[str, Any]]:
        """Messages that are visible now, taken for a moment."""
        answer = self.client("sqs").receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def messages(self, queue_url: str) -> tuple[int, int]:
        """How many messages wait in a queue, and how many are held."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def notify_queue(self, bucket: str, queue_url: str) -> None:
        """Have the bucket tell the queue of new objects."""
        configuration = {
            "QueueArn": self.queue_arn(queue_url),
            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        }
        self.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [configuration]}
        )

    def notify_topic(self, bucket: str, queue_url: str, *, raw: bool) -> None:
        """Have the bucket tell a topic of new objects, to which the queue subscribes."""
        sns = self.client("sns")
        topic = sns.create_topic(Name=f"topic-{os.getpid()}-{next(_numbers)}")["TopicArn"]
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=self.queue_arn(queue_url),
            Attributes={"RawMessageDelivery": json.dumps(raw)},
        )
        configuration = {"TopicArn": topic, "Events": EVENTS}
        self.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [configuration]}
        )


@contextmanager
def running(name: str, folder: Path) -> Iterator[Aws]:
    """Start the server of this name on a port of its own; stop it at the end."""
    port = free_port()
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in COMMANDS[name]], stdout=output, stderr=output, cwd=folder
        )
    try:
        _await_answer(process, port, log)
        yield Aws(name, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server answers HTTP, whatever it says."""
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)  # nobody tells when a port opens
        else:
            return
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')}")


@pytest.fixture(autouse=True)
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that the servers take, and none of the machine's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The main server."""
    with running("ministack", tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The second opinion."""
    with running("moto", tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(params=["ministack", "moto"])
def aws(request: pytest.FixtureRequest) -> Aws:
    """Each server in turn."""
    server: Aws = request.getfixturevalue(request.param)
    return server
