"""Asking the state for claims: those that wait together are made in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ingestd.errors import Retryable
from ingestd.state import claims, messages
from ingestd.state.base import State, Transaction
from ingestd.state.claims import Claim
from ingestd.state.instances import Instance
from ingestd.state.objects import Wish
from ingestd.state.recent import Recent

WISHES = 500
"""Claims that one transaction makes: others need not wait long for it."""
PAUSES, PAUSE_SECS = 4, 0.005
"""After a transaction the next one waits so many times as long as it took, but no longer than that: a commit costs as
much as many claims, which share it when they come one by one."""
MESSAGES_REMEMBERED = 2_000_000
"""Finished messages kept in memory for redeliveries (10 bytes each); beyond that the window becomes shorter."""

Answer = Claim | Instance


class _Asked(NamedTuple):
    wish: Wish
    answer: asyncio.Future[Answer]


class Claiming:
    """Sends the wishes that came since it sent the last, soon after these are answered. Messages that were finished
    before the moment `remembered_since` are forgotten."""

    def __init__(self, state: State, clock: Callable[[], float], remembered_since: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._remembered_since = remembered_since
        self._waiting: list[_Asked] = []
        self._sending: asyncio.Task[None] | None = None
        self._recent: Recent | None = None

    async def claim(self, wish: Wish) -> Answer:
        """See `claims.claim`; no two that wait are for the same identity. Raises `Retryable`."""
        one = _Asked(wish, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="ledger-claims")
        return await one.answer

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                asked = [one for one in self._waiting[:WISHES] if not one.answer.cancelled()]
                del self._waiting[:WISHES]
                if asked:
                    begun = time.monotonic()
                    await self._send(asked)
                    await asyncio.sleep(min(PAUSES * (time.monotonic() - begun), PAUSE_SECS))
        finally:
            self._sending = None

    async def _send(self, asked: list[_Asked]) -> None:
        try:
            answers = await self._transact([one.wish for one in asked])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            await self._fail(asked, error)
        else:
            for one, answer in zip(asked, answers, strict=True):
                if not one.answer.cancelled():
                    one.answer.set_result(answer)

    async def _fail(self, asked: list[_Asked], error: Exception) -> None:
        """Tell all of them that the state failed; else it was one of them, and each is made by itself."""
        if isinstance(error, Retryable) or len(asked) == 1:
            for one in asked:
                if not one.answer.cancelled():
                    one.answer.set_exception(error)
        else:
            for one in asked:
                await self._send([one])

    async def _transact(self, wishes: Sequence[Wish]) -> list[Answer]:
        now = self._clock()
        if not any(messages.is_message(wish.identity) for wish in wishes):
            return await self._state.transact(lambda tx: claims.claim(tx, wishes, now))
        recent, since = await self._loaded_recent(), self._remembered_since()

        def work(tx: Transaction) -> tuple[list[Answer], Recent]:
            new = messages.finished_after(tx, recent.sequence, since)
            known = recent.with_batches(new, since, MESSAGES_REMEMBERED) if new else recent
            finished = {wish.identity for wish in wishes if _is_finished(wish.identity, known)}
            others = iter(claims.claim(tx, [wish for wish in wishes if wish.identity not in finished], now))
            answers = [
                Claim(status="done", identity=wish.identity) if wish.identity in finished else next(others)
                for wish in wishes
            ]
            return answers, known

        answers, self._recent = await self._state.transact(work)
        return answers

    async def _loaded_recent(self) -> Recent:
        """The messages finished a short while ago: read once from the state, then kept up to date by the claims."""
        if self._recent is None:
            since = self._remembered_since()
            batches_until_now = await self._state.read(lambda tx: messages.finished_after(tx, 0, since))
            self._recent = Recent().with_batches(batches_until_now, since, MESSAGES_REMEMBERED)
        return self._recent


def _is_finished(identity: str, known: Recent) -> bool:
    return messages.is_message(identity) and messages.digest_of(identity) in known
