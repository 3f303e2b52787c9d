"""Results of work by the clock as objects of a source of the daemon's own.

What a scheduled query or a correlation rule found lies in the state until it is worked off. This source hands it out
as messages, and its store as objects, so that a result is claimed, read by a child, blamed, committed and
acknowledged as every object is; the row ids of its records are those of the turn, however often it is read.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from ingestd.config.models import SourceConfig
from ingestd.errors import Retryable
from ingestd.failpoints import hit
from ingestd.model import Check, Delivery, Framing, Identity, ObjectRef, Route
from ingestd.sources.base import Source
from ingestd.state import schedules
from ingestd.state.base import State
from ingestd.stores.base import ListedObject, OpenObject, Store

NAME = "ingestd:schedule"
"""Of the source; no source of a configuration can have it."""
STORE = "result"
LEASE_SECS = 60.0
ASK_SECS = 5.0
"""How often to look for results that another daemon left behind."""
PIECE_BYTES = 1 << 20


class ResultsConfig(SourceConfig):
    """How results are read."""

    def to_routes(self) -> tuple[Route, ...]:
        """One, for everything."""
        return (Route(results=True, framing=Framing(name="lines")),)


def config() -> ResultsConfig:
    """What the pipeline of this source is told."""
    return ResultsConfig(type="results")


class ResultSource(Source):
    """See the module. `wake` says that there is something new."""

    name = NAME
    lease_secs = LEASE_SECS
    lease_limit_secs = float("inf")

    def __init__(self, state: State, epoch: Callable[[], int], clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._epoch = epoch
        self._clock = clock
        self._woken = asyncio.Event()
        self._woken.set()
        self._stopping = False

    def wake(self) -> None:
        """There is a new result."""
        self._woken.set()

    def stop(self) -> None:
        """See `Source`."""
        self._stopping = True
        self._woken.set()

    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """See `Source`. It waits until there is something: an empty answer would have everything committed that the
        lake is gathering, each second."""
        while True:
            self._woken.clear()  # before looking: what comes meanwhile wakes
            taken = await self._take(limit)
            if taken or not wait_secs or self._stopping:
                return taken
            try:
                async with asyncio.timeout(ASK_SECS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _take(self, limit: int) -> list[Delivery]:
        if not await self._state.read(schedules.waiting):
            return []
        now, epoch = self._clock(), self._epoch()
        until = now + LEASE_SECS
        ids = await self._state.transact(lambda tx: schedules.take_results(tx, epoch, limit, now, until))
        return [
            Delivery(
                source=NAME,
                message_id=one,
                body=json.dumps({"objects": [{"store": STORE, "bucket": "schedule", "key": one}]}).encode(),
                receipt=one,
                received_at=now,
                lease_until=until,
            )
            for one in ids
        ]

    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """See `Source`."""
        await self._put_off(deliveries, max(LEASE_SECS, lease_secs))
        return list(deliveries)

    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """See `Source`."""
        await self._put_off(deliveries, delay_secs)

    async def _put_off(self, deliveries: Sequence[Delivery], secs: float) -> None:
        until = self._clock() + secs
        for one in deliveries:
            await self._state.transact(partial(schedules.put_off, result_id=one.receipt, until=until))

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Source`."""
        hit("source.before_ack")
        for one in deliveries:
            await self._state.transact(partial(schedules.drop, result_id=one.receipt))
        hit("source.after_ack")

    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """See `Source`. The reject has what there is to tell."""
        await self.ack([delivery])

    async def depth(self) -> int | None:
        """See `Source`."""
        return await self._state.read(schedules.waiting)

    async def check(self) -> list[Check]:
        """See `Source`. It needs nothing but the state."""
        return []

    async def close(self) -> None:
        """See `Source`."""


class ResultObject(OpenObject):
    """A result under reading."""

    def __init__(self, result: schedules.Result) -> None:
        self.ref = ObjectRef(store=STORE, bucket="schedule", key=result.id, size=len(result.body))
        self.identity = Identity(self.ref.url)
        self.size = len(result.body)
        self.origin = result.origin
        self._body = result.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `OpenObject`."""
        for start in range(0, len(self._body), PIECE_BYTES):
            yield self._body[start : start + PIECE_BYTES]

    async def close(self) -> None:
        """See `OpenObject`."""


class ResultStore(Store):
    """Results by their ids."""

    name = STORE

    def __init__(self, state: State) -> None:
        self._state = state

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> OpenObject:
        """See `Store`."""
        result = await self._state.read(lambda tx: schedules.result(tx, ref.key))
        if result is None:
            raise Retryable(f"{ref.url}: worked off by another daemon")
        return ResultObject(result)

    async def list_objects(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ListedObject]:
        """See `Store`. Nobody lists results."""
        nothing: tuple[ListedObject, ...] = ()
        for one in nothing:
            yield one

    async def check(self, bucket: str, prefix: str) -> list[Check]:
        """See `Store`."""
        return []

    async def close(self) -> None:
        """See `Store`."""
