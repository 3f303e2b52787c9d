"""What every source promises (`ingestd/sources/base.py`), asked of each implementation in turn."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingestd.model import Delivery
from ingestd.sources import aws_sqs, azure_queue, gcp_pubsub
from ingestd.sources.base import Source
from ingestd.sources.directory import Config, DirectorySource
from ingestd.sources.memory import MemorySource
from ingestd.state.base import State
from ingestd.state.memory import MemoryState
from tests.aws.servers import REGION, Aws
from tests.azure.servers import Azure
from tests.gcp.servers import Gcp


@dataclass
class Subject:
    """A source under test and the way to send it a message."""

    source: Source
    send: Callable[[str], Awaitable[None]]


Maker = Callable[[pytest.FixtureRequest, Path, State], Awaitable[Subject]]


async def _memory(request: pytest.FixtureRequest, tmp_path: Path, state: State) -> Subject:
    source = MemorySource("queue")

    async def send(name: str) -> None:
        source.put(name.encode())

    return Subject(source, send)


async def _directory(request: pytest.FixtureRequest, tmp_path: Path, state: State) -> Subject:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    source = DirectorySource("inbox", Config(type="directory", path=inbox, settle_secs=0), state)

    async def send(name: str) -> None:
        partial = inbox / f"{name}.tmp"
        partial.write_text(name)
        os.rename(partial, inbox / name)

    return Subject(source, send)


def _sqs(server: str, *, fifo: bool = False) -> Maker:
    async def make(request: pytest.FixtureRequest, tmp_path: Path, state: State) -> Subject:
        aws: Aws = request.getfixturevalue(server)
        queue = aws.queue(fifo=fifo)
        config = aws_sqs.Config(type="aws_sqs", queue_url=queue, region=REGION, endpoint_url=aws.url)

        async def send(name: str) -> None:
            aws.send(queue, name)

        return Subject(aws_sqs.build("queue", config, state), send)

    return make


async def _azure_queue(request: pytest.FixtureRequest, tmp_path: Path, state: State) -> Subject:
    azure: Azure = request.getfixturevalue("azure")
    queue = azure.queue()
    config = azure_queue.Config(type="azure_queue", connection_string=azure.secret(tmp_path), queue=queue)

    async def send(name: str) -> None:
        azure.send(queue, name)

    return Subject(azure_queue.build("queue", config, state), send)


def _pubsub(**settings: Any) -> Maker:
    async def make(request: pytest.FixtureRequest, tmp_path: Path, state: State) -> Subject:
        gcp: Gcp = request.getfixturevalue("gcp")
        subscription = gcp.subscription(**settings)
        config = gcp_pubsub.Config(type="gcp_pubsub", subscription=subscription, pubsub_endpoint=gcp.pubsub_url)

        async def send(name: str) -> None:
            gcp.send(subscription, name.encode())

        return Subject(gcp_pubsub.build("queue", config, state), send)

    return make


SUBJECTS: dict[str, Maker] = {
    "memory": _memory,
    "directory": _directory,
    "aws_sqs on ministack": _sqs("ministack"),
    "aws_sqs, FIFO, on ministack": _sqs("ministack", fifo=True),
    "aws_sqs on moto": _sqs("moto"),
    "azure_queue": _azure_queue,
    "gcp_pubsub": _pubsub(),
    "gcp_pubsub, exactly once": _pubsub(is_exactly_once=True),
}


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Each source in turn."""
    state = MemoryState()
    made: Subject = await request.param(request, tmp_path, state)
    yield made
    await made.source.close()
    await state.close()


async def _receive(source: Source, count: int) -> list[Delivery]:
    received: list[Delivery] = []
    while len(received) < count:
        batch = await source.receive(10, 5.0)
        assert batch, f"only {len(received)} of {count} messages came"
        received += batch
    return received


async def test_a_sent_message_is_received_once_while_its_lease_holds(subject: Subject) -> None:
    """A message is handed out, and not again while it is held."""
    await subject.send("a")
    received = await _receive(subject.source, 1)
    assert len(received) == 1
    assert received[0].source == subject.source.name
    assert received[0].lease_until > received[0].received_at
    assert await subject.source.receive(10, 0.0) == []


async def test_receive_never_answers_more_than_the_limit(subject: Subject) -> None:
    """The limit bounds what is held."""
    for name in "abc":
        await subject.send(name)
    first = await subject.source.receive(2, 5.0)
    assert 1 <= len(first) <= 2


async def test_an_acknowledged_message_never_comes_back(subject: Subject) -> None:
    """After ack nothing is left, and a second ack changes nothing."""
    await subject.send("a")
    received = await _receive(subject.source, 1)
    await subject.source.ack(received)
    await subject.source.ack(received)
    assert await subject.source.receive(10, 0.0) == []


async def test_a_message_given_back_comes_again(subject: Subject) -> None:
    """nack makes the message visible at once, for anyone."""
    await subject.send("a")
    received = await _receive(subject.source, 1)
    await subject.source.nack(received)
    again = await _receive(subject.source, 1)
    assert [d.message_id for d in again] == [d.message_id for d in received]


async def test_extending_answers_the_messages_still_held(subject: Subject) -> None:
    """extend renews the lease of what is ours and leaves out what is not."""
    await subject.send("a")
    await subject.send("b")
    received = await _receive(subject.source, 2)
    await subject.source.ack(received[:1])
    extended = await subject.source.extend(received, 3600.0)
    assert [d.message_id for d in extended] == [received[1].message_id]
    assert extended[0].lease_until >= received[1].lease_until


async def test_a_dead_lettered_message_does_not_come_back(subject: Subject) -> None:
    """dead_letter finishes the message here."""
    await subject.send("a")
    received = await _receive(subject.source, 1)
    await subject.source.dead_letter(received[0], "poison", "cannot be read")
    assert await subject.source.receive(10, 0.0) == []


async def test_an_empty_source_answers_nothing_without_waiting(subject: Subject) -> None:
    """With no wait an empty list means that nothing is there."""
    assert await subject.source.receive(10, 0.0) == []


async def test_check_says_what_it_tried(subject: Subject) -> None:
    """doctor gets at least one line, and it is good."""
    checks = await subject.source.check()
    assert checks
    assert all(check.ok for check in checks)


async def test_close_may_be_called_twice(subject: Subject) -> None:
    """close is idempotent, also without a receive before it."""
    await subject.source.close()
    await subject.source.close()
