"""Batches: prepared, committed, published or aborted; each change is a compare-and-set, whose loser learns it.

    prepared ──► committed ──► published
        └──────► aborted

The change from prepared to committed is the commit point of everything in the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from ingestd.errors import BatchRefused
from ingestd.model import BatchPlan, FinishedObject, ObjectRange, Range
from ingestd.state import messages, objects
from ingestd.state.base import Transaction
from ingestd.state.objects import ObjectRow, PreparedRange
from ingestd.state.ranges import covers, merged, overlap, self_overlap

TABLES = (
    """
    CREATE TABLE batches (
        batch_id TEXT NOT NULL PRIMARY KEY,
        owner BIGINT NOT NULL,
        status TEXT NOT NULL,
        plan BLOB,
        changed_at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX batches_by_status ON batches (status, changed_at)",
)

Status = Literal["prepared", "committed", "published", "aborted"]

_plan_encoder = msgspec.msgpack.Encoder()
_plan_decoder = msgspec.msgpack.Decoder(BatchPlan)


def prepare(tx: Transaction, plan: BatchPlan, owner: int, now: float) -> None:
    """Enter the batch and mark its ordinals. Repeating it changes nothing.

    Raises `BatchRefused` when the batch was aborted, when `owner` has not claimed each of its objects, or when
    an ordinal is committed, in another batch, or twice in this one.
    """
    status = _status(tx, plan.batch_id)
    if status == "prepared":
        return
    if status is not None:
        raise BatchRefused(dict.fromkeys(identities_of(plan), f"the batch is {status}"))
    _mark(tx, plan, owner)
    tx.execute(
        "INSERT INTO batches VALUES (:batch_id, :owner, 'prepared', :plan, :now)",
        {"batch_id": plan.batch_id, "owner": owner, "plan": _plan_encoder.encode(plan), "now": now},
    )


def _mark(tx: Transaction, plan: BatchPlan, owner: int) -> None:
    wanted = _by_identity(plan.ranges)
    identities = identities_of(plan)
    known = objects.find_all(tx, identities)
    marked: dict[str, tuple[PreparedRange, ...]] = {}
    refused: dict[str, str] = {}
    for identity in identities:
        row = known.get(identity)
        ranges = wanted.get(identity, ())
        if row is None or row.owner != owner:
            refused[identity] = "it is not claimed by this daemon"
        elif overlap(ranges, row.committed):
            refused[identity] = "some of its records are committed"
        elif self_overlap([*ranges, *((first, end) for _, first, end in row.prepared)]):
            refused[identity] = "some of its records are in another batch, or twice in this one"
        elif ranges:
            marked[identity] = row.prepared + tuple((plan.batch_id, first, end) for first, end in ranges)
    if refused:
        raise BatchRefused(refused)
    objects.set_prepared(tx, marked)


def commit(tx: Transaction, batch_id: str, now: float) -> list[str] | None:
    """prepared → committed: its ordinals are committed, and objects of which every ordinal is are done.

    Answers the identities that are done by it; None when the batch was aborted. Repeating it changes nothing.
    """
    plan = _change(tx, batch_id, "prepared", "committed", now)
    if plan is None:
        return _done_before(tx, batch_id)
    wanted = _by_identity(plan.ranges)
    last = {one.identity: one for one in plan.ranges}
    finished = {one.identity: one for one in plan.finished}
    identities = identities_of(plan)
    # What was swept since is not known: then nobody has read it for longer than the ledger remembers.
    known = objects.find_all(tx, identities)
    rows = [
        _advanced(known[one], batch_id, wanted.get(one, ()), last.get(one), finished.get(one))
        for one in identities
        if one in known
    ]
    done = [row.identity for row in rows if row.done]
    events = {identity for identity in done if messages.is_message(identity)}
    objects.save(tx, (row for row in rows if row.identity not in events), now)
    if events:
        objects.remove(tx, events)
        messages.add_finished(tx, events, now)
    return done


def _done_before(tx: Transaction, batch_id: str) -> list[str] | None:
    """What `commit` answers when it is repeated; nothing is done by a batch that was published since."""
    rows = tx.execute("SELECT status, plan FROM batches WHERE batch_id = :batch_id", {"batch_id": batch_id})
    if not rows or rows[0][0] not in ("committed", "published"):
        return None
    identities = identities_of(_plan_decoder.decode(rows[0][1])) if rows[0][1] else []
    known = objects.find_all(tx, identities)
    return [identity for identity in identities if identity not in known or known[identity].done]


def _advanced(
    row: ObjectRow,
    batch_id: str,
    ranges: Sequence[Range],
    last: ObjectRange | None,
    finished: FinishedObject | None,
) -> ObjectRow:
    """The object after a commit; when it is done nobody needs the claim any more."""
    committed, prepared = merged([*row.committed, *ranges]), _without(row, batch_id)
    if finished is None:
        # Exactly: beyond the total that is known the object has grown, and its new end is still to come.
        done = row.total is not None and committed == ((0, row.total),)
        row = replace(row, committed=committed, prepared=prepared)
        if last is not None:
            row = replace(row, framing=last.framing or row.framing, tail_open=last.tail_open or row.tail_open)
        return replace(row, done=True, owner=None) if done else row
    done = covers(committed, finished.records)
    return ObjectRow(
        identity=row.identity,
        owner=None if done else row.owner,
        done=done or row.done,
        committed=committed,
        prepared=prepared,
        total=finished.records,
        framing=finished.framing,
        compression=finished.compression,
        stored_bytes=finished.stored_bytes,
        tail_open=finished.tail_open,
    )


def _without(row: ObjectRow, batch_id: str) -> tuple[PreparedRange, ...]:
    return tuple(one for one in row.prepared if one[0] != batch_id)


def publish(tx: Transaction, batch_id: str, now: float) -> None:
    """committed → published: its files lie where they belong; the plan is not needed any more. Idempotent."""
    tx.execute(
        "UPDATE batches SET status = 'published', plan = NULL, changed_at = :now"
        " WHERE batch_id = :batch_id AND status = 'committed'",
        {"batch_id": batch_id, "now": now},
    )


def abort(tx: Transaction, batch_id: str, now: float) -> bool:
    """prepared → aborted: its ordinals are free. False when it is committed and stays."""
    plan = _change(tx, batch_id, "prepared", "aborted", now)
    if plan is None:
        return _status(tx, batch_id) not in ("committed", "published")
    tx.execute("UPDATE batches SET plan = NULL WHERE batch_id = :batch_id", {"batch_id": batch_id})
    known = objects.find_all(tx, list(_by_identity(plan.ranges)))
    objects.set_prepared(tx, {identity: _without(row, batch_id) for identity, row in known.items()})
    return True


def abort_orphans(tx: Transaction, now: float) -> list[str]:
    """Abort the prepared batches of instances that are registered no more; their ids."""
    rows = tx.execute(
        "SELECT batch_id FROM batches WHERE status = 'prepared' AND owner NOT IN (SELECT epoch FROM instances)"
    )
    for (batch_id,) in rows:
        abort(tx, batch_id, now)
    return [batch_id for (batch_id,) in rows]


def adopt_orphans(tx: Transaction, owner: int) -> list[BatchPlan]:
    """Make `owner` responsible for committed batches whose instance is registered no more: to be published."""
    rows = tx.execute(
        "UPDATE batches SET owner = :owner WHERE status = 'committed'"
        " AND owner NOT IN (SELECT epoch FROM instances) RETURNING plan",
        {"owner": owner},
    )
    return [_plan_decoder.decode(plan) for (plan,) in rows]


def unfinished(tx: Transaction) -> list[str]:
    """Batches that are prepared, or committed and not yet published."""
    rows = tx.execute("SELECT batch_id FROM batches WHERE status IN ('prepared', 'committed')")
    return [batch_id for (batch_id,) in rows]


def owner_of(tx: Transaction, batch_id: str) -> int | None:
    """The epoch that is responsible for a batch."""
    rows = tx.execute("SELECT owner FROM batches WHERE batch_id = :batch_id", {"batch_id": batch_id})
    return rows[0][0] if rows else None


def sweep(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` batches that ended before that moment; how many."""
    rows = tx.execute(
        "DELETE FROM batches WHERE batch_id IN (SELECT batch_id FROM batches"
        " WHERE status IN ('published', 'aborted') AND changed_at < :before LIMIT :limit) RETURNING batch_id",
        {"before": before, "limit": limit},
    )
    return len(rows)


def _change(tx: Transaction, batch_id: str, old: Status, new: Status, now: float) -> BatchPlan | None:
    """The compare-and-set; the plan when it was won."""
    rows = tx.execute(
        "UPDATE batches SET status = :new, changed_at = :now WHERE batch_id = :batch_id AND status = :old"
        " RETURNING plan",
        {"batch_id": batch_id, "old": old, "new": new, "now": now},
    )
    return _plan_decoder.decode(rows[0][0]) if rows else None


def _status(tx: Transaction, batch_id: str) -> Status | None:
    rows = tx.execute("SELECT status FROM batches WHERE batch_id = :batch_id", {"batch_id": batch_id})
    return rows[0][0] if rows else None


def _by_identity(ranges: Iterable[ObjectRange]) -> dict[str, list[Range]]:
    result: dict[str, list[Range]] = defaultdict(list)
    for one in ranges:
        result[one.identity].append((one.first, one.end))
    return result


def identities_of(plan: BatchPlan) -> list[str]:
    """Each identity once, in the order of the plan."""
    return list(dict.fromkeys([*(one.identity for one in plan.ranges), *(one.identity for one in plan.finished)]))
