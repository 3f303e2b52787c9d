"""A server that plays Azure's blobs and queues on loopback, and what tests need to set things up in it.

Every test makes its own containers and queues, under names of their own. The server has no Event Grid: `announce`
writes what it would write.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContentSettings
from azure.storage.queue import QueueServiceClient

from ingestd.cloud.azure import Account
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECS = 120.0
"""Long, because the first start fetches the server."""
NAME = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Both are the same on every such server, and published."""
TOPIC = f"/subscriptions/s/resourceGroups/logs/providers/Microsoft.Storage/storageAccounts/{NAME}"
_numbers = itertools.count(1)


def plain(text: str) -> str:
    """A message as some tools send it."""
    return text


def in_base64(text: str) -> str:
    """A message as Event Grid sends it."""
    return base64.b64encode(text.encode()).decode()


class Azure:
    """A running server, with the calls that tests begin with."""

    def __init__(self, blobs: str, queues: str) -> None:
        self.blob_url = f"{blobs}/{NAME}"
        self.queue_url = f"{queues}/{NAME}"
        self.blobs = BlobServiceClient.from_connection_string(self.connection_string())
        self.queues = QueueServiceClient.from_connection_string(self.connection_string())

    def connection_string(self, blobs: str = "", queues: str = "") -> str:
        """How to sign in, perhaps by way of other addresses."""
        return (
            f"AccountName={NAME};AccountKey={KEY};"
            f"BlobEndpoint={blobs or self.blob_url};QueueEndpoint={queues or self.queue_url};"
        )

    def account(self, blobs: str = "", queues: str = "") -> Account:
        """The same for a store or a source."""
        return Account(connection_string=lambda: self.connection_string(blobs, queues))

    def secret(self, folder: Path, blobs: str = "", queues: str = "") -> Any:
        """The same as a configuration refers to it."""
        file = folder / f"connection-string-{next(_numbers)}"
        file.write_text(self.connection_string(blobs, queues))
        return {"file": str(file)}

    def container(self) -> str:
        """A new container."""
        name = f"container-{os.getpid()}-{next(_numbers)}"
        self.blobs.create_container(name)
        return name

    def queue(self) -> str:
        """A new queue."""
        name = f"queue-{os.getpid()}-{next(_numbers)}"
        self.queues.create_queue(name)
        return name

    def put(self, container: str, name: str, data: bytes, *, encoding: str | None = None) -> str:
        """Write a block blob; its etag."""
        blob = self.blobs.get_blob_client(container, name)
        settings = ContentSettings(content_encoding=encoding)
        return str(blob.upload_blob(data, overwrite=True, content_settings=settings)["etag"]).strip('"')

    def append(self, container: str, name: str, data: bytes) -> None:
        """Append to an append blob, which is made when it is not there."""
        blob = self.blobs.get_blob_client(container, name)
        if not blob.exists():
            blob.create_append_blob()
        if data:
            blob.append_block(data)

    def send(self, queue: str, text: str) -> None:
        """Put a message into a queue, as it is."""
        self.queues.get_queue_client(queue).send_message(text)

    def announce(
        self, queue: str, container: str, name: str, *, encode: Callable[[str], str] = in_base64, **data: Any
    ) -> None:
        """What Event Grid says of a blob that was written."""
        self.send(
            queue, encode(json.dumps(event(container, name, url=f"{self.blob_url}/{container}/{name}", **data)))
        )

    def peek(self, queue: str) -> list[str]:
        """Texts of the messages that are visible now."""
        return [message.content for message in self.queues.get_queue_client(queue).peek_messages(max_messages=32)]

    def left(self, queue: str) -> int:
        """How many messages a queue has, those that are held included."""
        return self.queues.get_queue_client(queue).get_queue_properties().approximate_message_count or 0


def event(container: str, name: str, *, url: str = "", kind: str = "BlobCreated", **data: Any) -> dict[str, Any]:
    """An event in Event Grid's schema."""
    return {
        "topic": TOPIC,
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": f"Microsoft.Storage.{kind}",
        "eventTime": "2024-05-01T10:00:00.1234567Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {
            "api": "PutBlob",
            "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
            "contentType": "application/octet-stream",
            "blobType": "BlockBlob",
            "url": url or f"https://{NAME}.blob.core.windows.net/{container}/{name}",
            "sequencer": "00000000000004420000000000028963",
            "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
            **data,
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }


def as_cloud_event(found: dict[str, Any]) -> dict[str, Any]:
    """The same event as a CloudEvent."""
    return {
        "specversion": "1.0",
        "source": found["topic"],
        "type": found["eventType"],
        "time": found["eventTime"],
        **{word: found[word] for word in ("subject", "id", "data")},
    }


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Azure]:
    """Start a server on ports of its own; stop it at the end."""
    ports = [free_port() for _ in range(2)]
    log = folder / "azurite.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(ROOT / "scripts/azurite"), *map(str, ports), *options], stdout=output, stderr=output, cwd=folder
        )
    scheme = "https" if "--cert" in options else "http"
    try:
        for port in ports:
            _await_answer(process, port, log)
        yield Azure(*(f"{scheme}://127.0.0.1:{port}" for port in ports))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when something listens and answers, whatever it says."""
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except ConnectionResetError:
            return  # it waits for TLS
        except OSError:
            time.sleep(0.05)  # nobody tells when a port opens
        else:
            return
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')}")


@pytest.fixture(autouse=True)
def no_azure_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the machine's own identities."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """The server."""
    with running(tmp_path_factory.mktemp("azurite")) as server:
        yield server
