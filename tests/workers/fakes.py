"""Rooms that misbehave, which rules cannot make them do: named in `CodeSpec.factory`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from ingestd.decode import Block
from ingestd.workers.contracts import Decoder, Event, Read, Session, Stages
from ingestd.workers.settings import CodeSpec
from ingestd.workers.stages import build

EXITS_READER = "exits the reader"
EXITS_DECODER = b"exits the decoder"
RAISES_IN_READER = "raises in the reader"
RAISES_IN_DECODER = b"raises in the decoder"


def fragile(spec: CodeSpec) -> Stages:
    """The real rooms, but reading and decoding end the process, or raise, on certain texts."""
    stages = build(spec)
    return msgspec.structs.replace(
        stages,
        decoder=lambda task: FragileDecoder(stages.decoder(task)),
        session=lambda task: FragileSession(stages.session(task)),
    )


class FragileSession:
    """Reads like the one it is made of."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.prime = inner.prime

    def read(self, data: Any, ordinal: int, header: Event | None = None) -> Read:
        """See the module."""
        if EXITS_READER.encode() in data:
            os._exit(9)
        if RAISES_IN_READER.encode() in data:
            raise ZeroDivisionError
        return self._inner.read(data, ordinal, header)


class FragileDecoder:
    """Decodes like the one it is made of."""

    def __init__(self, inner: Decoder) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def feed(self, data: bytes) -> Iterator[Block]:
        """See the module; the texts are looked for in the stored bytes."""
        yield from self._inner.feed(data)
        if EXITS_DECODER in data:
            os._exit(9)
        if RAISES_IN_DECODER in data:
            raise ZeroDivisionError

    def finish(self) -> Iterator[Block]:
        """As the other does."""
        return self._inner.finish()


def slow_to_load(_spec: CodeSpec) -> Stages:
    """Never loads."""
    while True:
        pass


def dies_loading(_spec: CodeSpec) -> Stages:
    """Ends the process."""
    os._exit(5)


def environment(_spec: CodeSpec) -> Stages:
    """Does not load either: it tells what it sees of its surroundings instead."""
    raise RuntimeError(f"names={sorted(os.environ)} stdin={os.readlink('/proc/self/fd/0')}")


def forbidden(spec: CodeSpec) -> Stages:
    """Tells which of the modules that a child must not have are there."""
    build(spec)
    heavy = ("asyncio", "prometheus_client", "aiohttp", "boto3", "botocore", "azure", "google.cloud", "uvloop")
    raise RuntimeError(f"found={[name for name in heavy if name in sys.modules]}")
