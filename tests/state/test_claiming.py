"""Claims that wait together: made in one transaction, answered each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from ingestd.errors import Retryable
from ingestd.ledger import Claim, Ledger
from ingestd.model import BatchPlan, FinishedObject, ObjectRange
from ingestd.state import claiming
from ingestd.state.base import Transaction
from ingestd.state.memory import MemoryState

T = TypeVar("T")

MANY = 150
NAMES = [f"s3://bucket/{n:03}#e" for n in range(MANY)]
MESSAGES = [f"message:subscription/{n}" for n in range(10)]


class CountingState(MemoryState):
    """A state that counts the calls."""

    calls = 0

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `State`."""
        self.calls += 1
        return await super().transact(work)


@pytest.fixture
async def state() -> AsyncIterator[CountingState]:
    """An empty state."""
    state = CountingState()
    yield state
    await state.close()


@pytest.fixture
async def ledger(state: CountingState, tmp_path: Path) -> AsyncIterator[Ledger]:
    """The ledger of one daemon."""
    ledger = await Ledger.open(state, tmp_path)
    state.calls = 0
    yield ledger
    await ledger.close()


@pytest.fixture
async def other(state: CountingState, ledger: Ledger, tmp_path: Path) -> AsyncIterator[Ledger]:
    """The ledger of another one."""
    other = await Ledger.open(state, tmp_path)
    state.calls = 0
    yield other
    await other.close()


def start(ledger: Ledger, names: list[str], stored_bytes: int = 0) -> list[asyncio.Task[Claim]]:
    """Claims that begin at the same time."""
    claims = (ledger.claim(name, source="s", url=name, stored_bytes=stored_bytes) for name in names)
    return [asyncio.ensure_future(claim) for claim in claims]


async def statuses(claims: list[asyncio.Task[Claim]]) -> list[str]:
    """What was answered."""
    return [claim.status for claim in await asyncio.gather(*claims)]


async def finish(ledger: Ledger, names: list[str]) -> None:
    """Commit objects of three records."""
    plan = BatchPlan(
        batch_id=names[0],
        ranges=tuple(ObjectRange(identity=name, first=0, end=3) for name in names),
        finished=tuple(FinishedObject(identity=name, records=3, framing="lines") for name in names),
    )
    await ledger.prepare(plan)
    assert await ledger.commit(plan.batch_id)


async def test_claims_that_wait_together_are_one_transaction(ledger: Ledger, state: CountingState) -> None:
    """Those that begin at the same time, and those that come before these are answered."""
    first = start(ledger, NAMES[:100])
    while state.calls == 0:  # noqa: ASYNC110 - until the first are on their way
        await asyncio.sleep(0)
    later = start(ledger, NAMES[100:])
    assert await statuses(first + later) == ["granted"] * MANY
    assert state.calls == 2


async def test_claims_that_come_one_by_one_share_a_transaction(
    ledger: Ledger, state: CountingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is answered at once, the next ones after a short pause."""
    monkeypatch.setattr(claiming, "PAUSES", 1e6)
    monkeypatch.setattr(claiming, "PAUSE_SECS", 0.1)
    assert await statuses(start(ledger, NAMES[:1])) == ["granted"]
    asked = []
    for name in NAMES[1:20]:
        asked += start(ledger, [name])
        await asyncio.sleep(0)
    assert await statuses(asked) == ["granted"] * 19
    assert state.calls == 2


async def test_a_long_queue_is_sent_in_pieces(
    ledger: Ledger, state: CountingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction keeps others waiting for long."""
    monkeypatch.setattr(claiming, "WISHES", 20)
    assert await statuses(start(ledger, NAMES)) == ["granted"] * MANY
    assert state.calls == 8


async def test_each_claim_gets_its_own_answer(ledger: Ledger, other: Ledger) -> None:
    """What is done, busy and free, objects and messages, asked for at once."""
    await statuses(start(ledger, NAMES[:50] + MESSAGES[:4]))
    await finish(ledger, NAMES[:30] + MESSAGES[:2])
    answers = await statuses(start(other, NAMES + MESSAGES))
    assert answers[:MANY] == ["done"] * 30 + ["busy"] * 20 + ["granted"] * 100
    assert answers[MANY:] == ["done"] * 2 + ["busy"] * 2 + ["granted"] * 6


async def test_one_claim_that_fails_leaves_the_others_alone(ledger: Ledger, other: Ledger) -> None:
    """A size that no database holds is the mistake of its own object."""
    asked = [*start(ledger, NAMES[:5]), *start(ledger, ["s3://bucket/wrong#e"], 2**64), *start(ledger, NAMES[5:9])]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(5), OverflowError)
    assert [answer.status for answer in answers if isinstance(answer, Claim)] == ["granted"] * 9
    assert await statuses(start(other, NAMES[:9])) == ["busy"] * 9
    assert await statuses(start(other, ["s3://bucket/wrong#e"])) == ["granted"]


@pytest.mark.parametrize("knob", ["fail_before_commit", "fail_after_commit"])
async def test_when_the_state_fails_everyone_is_told_to_come_again(
    knob: str, ledger: Ledger, other: Ledger, state: CountingState
) -> None:
    """Nobody holds a claim whose answer was lost: here it may be made again at once, elsewhere after the renewal."""
    setattr(state, knob, 1)
    answers = await asyncio.gather(*start(ledger, NAMES), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Retryable] * MANY
    assert await statuses(start(ledger, NAMES[:50])) == ["granted"] * 50
    await ledger.renew()
    assert await statuses(start(other, NAMES)) == ["busy"] * 50 + ["granted"] * 100


@pytest.mark.parametrize("on_its_way", [False, True])
async def test_a_caller_who_goes_disturbs_nobody(
    on_its_way: bool, ledger: Ledger, other: Ledger, state: CountingState
) -> None:
    """The others are answered, and its object is free after the renewal, whether its claim was made or not."""
    asked = start(ledger, NAMES)
    await asyncio.sleep(0)
    while on_its_way and state.calls == 0:  # noqa: ASYNC110 - until they are on their way
        await asyncio.sleep(0)
    asked[3].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers.pop(3), asyncio.CancelledError)
    assert {answer.status for answer in answers if isinstance(answer, Claim)} == {"granted"}
    await ledger.renew()
    assert await statuses(start(other, NAMES[2:5])) == ["busy", "granted", "busy"]


async def test_a_claim_made_again_by_a_daemon_that_lost_the_answer_is_kept(ledger: Ledger, other: Ledger) -> None:
    """The one that was cancelled does not end it."""
    (asked,) = start(ledger, NAMES[:1])
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert await statuses(start(ledger, NAMES[:1])) == ["granted"]
    await ledger.renew()
    assert await statuses(start(other, NAMES[:1])) == ["busy"]
