"""The ledger under every order of events that hypothesis finds: daemons claim, write, die, sleep, and lose answers.

Three daemons share a state. A model beside them knows, from the answers alone, who may do what; the machine holds
the ledger to it: no ordinal is committed twice, nothing of a lost claim gets in, done means all is committed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ingestd.errors import BatchRefused, Retryable
from ingestd.ledger import Claim, Ledger
from ingestd.model import BatchPlan, FinishedObject, ObjectRange, PlannedFile, Range
from ingestd.state.batches import identities_of
from ingestd.state.memory import MemoryState
from tests.ledgers import Clock, crash

T = TypeVar("T")

TOTALS = {"s3://bucket/a#1": 6, "s3://bucket/b#2": 3, "s3://bucket/empty#3": 0, "message:subscription/4": 2}
"""Each object and how many records it has."""
SLOTS = 3

slots = st.integers(0, SLOTS - 1)
identities = st.sampled_from(sorted(TOTALS))
faults = st.sampled_from(["", "", "", "before", "after"])


@dataclass(eq=False)
class Daemon:
    """What the model knows of one daemon."""

    ledger: Ledger
    holds: set[str] = field(default_factory=set)
    asleep: bool = False
    """Taken for dead by the others, without knowing it yet."""
    gone: bool = False


@dataclass
class Batch:
    """What the model knows of one batch."""

    plan: BatchPlan
    daemon: Daemon
    status: str = "prepared"

    def ranges_of(self, identity: str) -> list[Range]:
        """Its ordinals of one object."""
        return [(one.first, one.end) for one in self.plan.ranges if one.identity == identity]


async def refusals(ledger: Ledger, plan: BatchPlan) -> set[str]:
    """Prepare the batch; the identities for which it was refused."""
    try:
        await ledger.prepare(plan)
    except BatchRefused as error:
        return set(error.identities)
    return set()


class LedgerMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.daemons: list[Daemon] = []
        self.batches: list[Batch] = []
        self.committed: Counter[tuple[str, int]] = Counter()
        self.finished: set[str] = set()

    # --- helpers ---

    def run_coroutine(self, work: Callable[[], Awaitable[T]], fault: str = "") -> T:
        """Run it, again when its answer is lost."""

        async def until_answered() -> T:
            while True:
                try:
                    return await work()
                except Retryable:
                    continue

        self.state.fail_before_commit = int(fault == "before")
        self.state.fail_after_commit = int(fault == "after")
        result = self.runner.run(until_answered())
        self.state.fail_before_commit = self.state.fail_after_commit = 0
        return result

    def open_daemon(self) -> Daemon:
        return Daemon(self.run_coroutine(self.open_ledger))

    async def open_ledger(self) -> Ledger:
        folder = Path(self.folder.name)
        return await Ledger.open(self.state, folder, message_dedup_secs=1e9, clock=self.clock)

    def prepared(self, identity: str) -> list[Range]:
        """Ordinals in batches that may yet be committed."""
        return [r for batch in self.batches if batch.status == "prepared" for r in batch.ranges_of(identity)]

    def ordinals_committed(self, identity: str) -> set[int]:
        return {ordinal for ordinal in range(TOTALS[identity]) if self.committed[identity, ordinal]}

    def end(self, daemon: Daemon) -> None:
        """The daemon's claims and prepared batches are void."""
        daemon.holds.clear()
        for batch in self.batches:
            if batch.daemon is daemon and batch.status == "prepared":
                batch.status = "aborted"

    # --- rules ---

    @initialize()
    def start(self) -> None:
        async def make() -> MemoryState:
            return MemoryState()

        self.state = self.runner.run(make())
        self.daemons = [self.open_daemon() for _ in range(SLOTS)]

    @rule(slot=slots, fault=faults)
    def claim_all(self, slot: int, fault: str) -> None:
        for identity in TOTALS:
            self.claim(slot, identity, fault)

    @rule(slot=slots, identity=identities, fault=faults)
    def claim_one(self, slot: int, identity: str, fault: str) -> None:
        self.claim(slot, identity, fault)

    def claim(self, slot: int, identity: str, fault: str) -> None:
        daemon = self.daemons[slot]
        if daemon.asleep:
            return
        answer = self.run_coroutine(lambda: daemon.ledger.claim(identity, source="s", url="u"), fault)
        self.check(answer, daemon, identity)

    def check(self, answer: Claim, daemon: Daemon, identity: str) -> None:
        taken = any(identity in one.holds for one in self.daemons) or bool(self.prepared(identity))
        done = len(self.ordinals_committed(identity)) == TOTALS[identity] and identity in self.finished
        assert answer.status == ("done" if done else "busy" if taken else "granted")
        if answer.status == "granted":
            skipped = {ordinal for first, end in answer.skip for ordinal in range(first, end)}
            assert skipped == self.ordinals_committed(identity)
            daemon.holds.add(identity)

    @rule(slot=slots, identity=identities, fault=faults)
    def release(self, slot: int, identity: str, fault: str) -> None:
        daemon = self.daemons[slot]
        self.run_coroutine(lambda: daemon.ledger.release(identity), fault)
        if fault:  # a lost release is made up for by the renewal
            self.run_coroutine(daemon.ledger.renew)
            daemon.asleep = False
        daemon.holds.discard(identity)

    @rule(slot=slots, fault=faults, data=st.data())
    def prepare_anything(self, slot: int, fault: str, data: st.DataObject) -> None:
        self.prepare(self.daemons[slot], data.draw(st.lists(identities, min_size=1, unique=True)), fault, data)

    @precondition(lambda self: any(daemon.holds for daemon in self.daemons))
    @rule(fault=faults, data=st.data())
    def prepare_what_is_held(self, fault: str, data: st.DataObject) -> None:
        daemon = data.draw(st.sampled_from([one for one in self.daemons if one.holds]))
        chosen = data.draw(st.lists(st.sampled_from(sorted(daemon.holds)), min_size=1, max_size=2, unique=True))
        self.prepare(daemon, chosen, fault, data)

    @rule(slot=slots, identity=identities, pieces=st.integers(1, 2), fault=faults)
    def read_and_commit(self, slot: int, identity: str, pieces: int, fault: str) -> None:
        """What a daemon does all day: the next ordinals that are missing, and the end when there are none."""
        daemon = self.daemons[slot]
        if identity not in daemon.holds:
            self.claim(slot, identity, fault)
        if identity in daemon.holds:
            missing = sorted(set(range(TOTALS[identity])) - self.ordinals_committed(identity))
            ranges = [ObjectRange(identity=identity, first=n, end=n + 1) for n in missing[:pieces]]
            end = FinishedObject(identity=identity, records=TOTALS[identity], framing="lines")
            batch = self.prepare_batch(daemon, ranges, [end] if len(missing) <= pieces else [], fault)
            self.commit_batch(batch, fault)

    def prepare(self, daemon: Daemon, chosen: list[str], fault: str, data: st.DataObject) -> None:
        ranges: list[ObjectRange] = []
        finished: list[FinishedObject] = []
        for identity in chosen:
            total = TOTALS[identity]
            for _ in range(data.draw(st.sampled_from([1, 1, 1, 2])) if total else 0):
                first, end = data.draw(st.sampled_from(list(combinations(range(total + 1), 2))))
                ranges.append(ObjectRange(identity=identity, first=first, end=end))
            if data.draw(st.booleans()):
                finished.append(FinishedObject(identity=identity, records=total, framing="lines"))
        self.prepare_batch(daemon, ranges, finished, fault)

    def prepare_batch(
        self, daemon: Daemon, ranges: list[ObjectRange], finished: list[FinishedObject], fault: str
    ) -> Batch:
        name = f"b{len(self.batches)}"
        files = (PlannedFile(staging=name, final=name, table="events", rows=1),)
        batch = Batch(BatchPlan(batch_id=name, ranges=tuple(ranges), finished=tuple(finished), files=files), daemon)
        refused = self.expected_refusals(batch)
        answer = self.run_coroutine(lambda: refusals(daemon.ledger, batch.plan), fault)
        assert answer == refused
        assert refused or not daemon.asleep or not identities_of(batch.plan)
        batch.status = "aborted" if refused else "prepared"
        self.batches.append(batch)
        return batch

    def expected_refusals(self, batch: Batch) -> set[str]:
        """The identities that must not get in with this batch, as the model sees it."""
        refused = set()
        for identity in identities_of(batch.plan):
            count = Counter(ordinal for r in self.prepared(identity) for ordinal in range(*r))
            count.update(ordinal for r in batch.ranges_of(identity) for ordinal in range(*r))
            count.update(self.ordinals_committed(identity) & set(count))
            wanted = {ordinal for r in batch.ranges_of(identity) for ordinal in range(*r)}
            if identity not in batch.daemon.holds or any(count[ordinal] > 1 for ordinal in wanted):
                refused.add(identity)
        return refused

    @precondition(lambda self: any(not batch.daemon.gone for batch in self.batches))
    @rule(fault=faults, data=st.data())
    def commit(self, fault: str, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([one for one in self.batches if not one.daemon.gone][-3:]))
        self.commit_batch(batch, fault)

    def commit_batch(self, batch: Batch, fault: str) -> None:
        won = self.run_coroutine(lambda: batch.daemon.ledger.commit(batch.plan.batch_id), fault)
        assert won == (batch.status != "aborted")
        if batch.status != "prepared":
            return
        batch.status = "committed"
        for one in batch.plan.ranges:
            self.committed.update((one.identity, ordinal) for ordinal in range(one.first, one.end))
        assert max(self.committed.values(), default=0) <= 1
        self.finished.update(one.identity for one in batch.plan.finished)
        for identity in identities_of(batch.plan):
            if identity in self.finished and len(self.ordinals_committed(identity)) == TOTALS[identity]:
                for daemon in self.daemons:
                    daemon.holds.discard(identity)

    @precondition(lambda self: self.batches)
    @rule(fault=faults, data=st.data())
    def abort(self, fault: str, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from(self.batches))
        if not batch.daemon.gone:
            aborted = self.run_coroutine(lambda: batch.daemon.ledger.abort(batch.plan.batch_id), fault)
            assert aborted == (batch.status in ("prepared", "aborted"))
            batch.status = "aborted" if aborted else batch.status

    @precondition(lambda self: any(batch.status == "committed" for batch in self.batches))
    @rule(fault=faults, data=st.data())
    def publish(self, fault: str, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([one for one in self.batches if one.status == "committed"]))
        if not batch.daemon.gone:
            self.run_coroutine(lambda: batch.daemon.ledger.published(batch.plan.batch_id), fault)
            batch.status = "published"

    @rule(slot=slots)
    def recover(self, slot: int) -> None:
        daemon = self.daemons[slot]
        if daemon.asleep:
            return
        plans = self.run_coroutine(daemon.ledger.recover)
        lost = [one for one in self.batches if one.status == "committed" and one.daemon.gone]
        assert {plan.batch_id for plan in plans} == {one.plan.batch_id for one in lost}
        for batch in lost:
            assert batch.plan in plans
            batch.daemon = daemon

    @rule(slot=slots, kind=st.sampled_from(["none", "none", "stop", "die", "sleep"]))
    def calamity(self, slot: int, kind: str) -> None:
        daemon = self.daemons[slot]
        if kind == "sleep":
            self.fall_asleep(daemon)
        elif kind != "none":
            if kind == "stop":
                self.run_coroutine(daemon.ledger.close)
            else:
                crash(daemon.ledger)
            self.end(daemon)
            daemon.gone = True
            self.daemons[slot] = self.open_daemon()

    def fall_asleep(self, sleeper: Daemon) -> None:
        others = [one for one in self.daemons if one is not sleeper and not one.asleep]
        if not others:
            return  # nobody would notice
        for _ in range(7):
            self.clock.advance(60.0)
            for one in others:
                self.run_coroutine(one.ledger.renew)
        self.end(sleeper)
        sleeper.asleep = True
        # What it had committed is left to whoever recovers it.
        for batch in self.batches:
            if batch.daemon is sleeper and batch.status == "committed":
                batch.daemon = Daemon(sleeper.ledger, gone=True)

    @rule(slot=slots)
    def wake_up(self, slot: int) -> None:
        self.run_coroutine(self.daemons[slot].ledger.renew)
        self.daemons[slot].asleep = False

    def teardown(self) -> None:
        if self.daemons:
            self.finish_everything()
            self.runner.run(self.close_all())
        self.runner.close()
        self.folder.cleanup()

    def finish_everything(self) -> None:
        """Whatever happened, one last daemon can bring each object to its end, each ordinal once."""
        for daemon in self.daemons:
            crash(daemon.ledger)
            self.end(daemon)
        last = self.open_daemon()
        self.daemons = [last]
        for identity in TOTALS:
            self.finish(last, identity)

    def finish(self, last: Daemon, identity: str) -> None:
        """Read what is missing of one object."""

        def claim() -> Awaitable[Claim]:
            return last.ledger.claim(identity, source="s", url="u")

        self.check(self.run_coroutine(claim), last, identity)
        if identity in last.holds:
            missing = sorted(set(range(TOTALS[identity])) - self.ordinals_committed(identity))
            ranges = [ObjectRange(identity=identity, first=n, end=n + 1) for n in missing]
            end = FinishedObject(identity=identity, records=TOTALS[identity], framing="lines")
            self.commit_batch(self.prepare_batch(last, ranges, [end], ""), "")
        assert self.run_coroutine(claim).status == "done"

    async def close_all(self) -> None:
        await self.daemons[0].ledger.close()
        await self.state.close()


few = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
many = settings(few, max_examples=1_000, stateful_step_count=60, derandomize=False)


def test_few_histories() -> None:
    """A small number of histories, the same ones each time."""
    run_state_machine_as_test(LedgerMachine, settings=few)


@pytest.mark.slow
def test_many_long_histories() -> None:
    """Many histories, new ones each time."""
    run_state_machine_as_test(LedgerMachine, settings=many)
