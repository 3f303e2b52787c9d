"""One daemon of `tests/test_ledger_processes.py`: commits objects until all are done, or until it is killed."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from ingestd.errors import BatchRefused
from ingestd.ledger import Ledger
from ingestd.model import BatchPlan, FinishedObject, ObjectRange, PlannedFile
from ingestd.state.sqlite import SqliteState


def publish(folder: Path, plan: BatchPlan) -> None:
    """Rename the staged files to where they belong, those that still are staged."""
    for file in plan.files:
        staged = folder / file.staging
        if staged.exists():
            staged.rename(folder / file.final)


async def write_batch(
    ledger: Ledger, folder: Path, ranges: list[ObjectRange], finished: list[FinishedObject]
) -> None:
    """The protocol of the lake with rows that are lines `identity ordinal`."""
    name = f"{os.getpid()}-{random.getrandbits(60):x}"
    rows = [f"{one.identity} {n}\n" for one in ranges for n in range(one.first, one.end)]
    file = PlannedFile(staging=f"{name}.staged", final=f"{name}.rows", table="events", rows=len(rows))
    plan = BatchPlan(batch_id=name, ranges=tuple(ranges), finished=tuple(finished), files=(file,))
    await ledger.prepare(plan)
    (folder / file.staging).write_text("".join(rows))
    if await ledger.commit(name):
        publish(folder, plan)
        await ledger.published(name)


async def read(ledger: Ledger, folder: Path, identity: str, total: int) -> bool:
    """Commit what is missing of an object in two batches, the first ones of several objects at a time."""
    claim = await ledger.claim(identity, source="s", url=identity)
    if claim.status != "granted":
        return claim.status == "done"
    skipped = {n for first, end in claim.skip for n in range(first, end)}
    missing = sorted(set(range(total)) - skipped)
    cut = random.randint(0, len(missing))
    for part, last in ((missing[:cut], False), (missing[cut:], True)):
        ranges = [ObjectRange(identity=identity, first=n, end=n + 1) for n in part]
        finished = [FinishedObject(identity=identity, records=total, framing="lines")] if last else []
        try:
            await write_batch(ledger, folder, ranges, finished)
        except BatchRefused:
            break
        if not last and random.random() < 0.2:
            break
    await ledger.release(identity)
    return False


async def main(folder: Path, objects: int, total: int) -> None:
    """Until every object is done."""
    state = SqliteState.open(folder / "state.db")
    ledger = await Ledger.open(state, folder / "instances")
    left = [f"object-{n}" for n in range(objects)]
    print("ready", flush=True)
    while left:
        for plan in await ledger.recover():
            publish(folder, plan)
            await ledger.published(plan.batch_id)
        some = random.sample(left, min(8, len(left)))
        done = await asyncio.gather(*(read(ledger, folder, identity, total) for identity in some))
        left = [one for one in left if one not in {i for i, is_done in zip(some, done, strict=True) if is_done}]
    await ledger.close()
    await state.close()


if __name__ == "__main__":
    random.seed(int(sys.argv[4]))
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
