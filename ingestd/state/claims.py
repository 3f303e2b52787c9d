"""Claims: who may read an object, and what of it is committed already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ingestd.model import Range
from ingestd.state import batches, instances, objects
from ingestd.state.base import Transaction
from ingestd.state.instances import Instance
from ingestd.state.objects import ObjectRow, Wish
from ingestd.state.ranges import below


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim."""

    status: Literal["granted", "busy", "done"]
    """`granted`: read it, then release it unless all of it was committed. `busy`: somebody
    is reading it or committing some of it, here or elsewhere. `done`: every record is committed."""
    identity: str
    skip: tuple[Range, ...] = ()
    """Ordinals that are committed. Sorted, disjoint."""
    framing: str | None = None
    """The framing that counted the ordinals before, to be used again; None when nothing is committed."""
    total: int | None = None
    """Ordinals in all, when somebody has read it to its end."""


def claim(tx: Transaction, wishes: Sequence[Wish], now: float) -> list[Claim | Instance]:
    """Grant each wish unless its object is done or in other hands: then the answer is the instance that has it.
    No two wishes name the same identity."""
    named = [name for wish in wishes for name in (wish.identity, wish.grown_from) if name is not None]
    known = objects.find_all(tx, named)
    answers: list[Claim | Instance] = []
    new: list[Wish] = []
    changed: list[ObjectRow] = []
    for wish in wishes:
        row = known.get(wish.identity)
        earlier = known.get(wish.grown_from) if wish.grown_from is not None else None
        if row is None and earlier is None:
            new.append(wish)
            answers.append(Claim(status="granted", identity=wish.identity))
        elif hindrance := _hindrance(tx, wish, row, earlier):
            answers.append(hindrance)
        else:
            if row is None:
                new.append(wish)
                row = ObjectRow(wish.identity, stored_bytes=wish.stored_bytes)
            changed.append(_claimed(wish, row, earlier))
            answers.append(_granted(changed[-1]))
    objects.add(tx, new, now)
    objects.save(tx, changed, now)
    return answers


def _hindrance(
    tx: Transaction, wish: Wish, row: ObjectRow | None, earlier: ObjectRow | None
) -> Claim | Instance | None:
    """Why the wish cannot be granted."""
    if row is not None and row.done and wish.grown_from != wish.identity:
        return Claim(status="done", identity=wish.identity, framing=row.framing, total=row.total)
    for one in (row, earlier):
        if one is not None and (holder := _holder(tx, one, wish.epoch)) is not None:
            return holder
    return None


def _holder(tx: Transaction, row: ObjectRow, epoch: int) -> Instance | None:
    """The registered instance that has the object claimed or in a prepared batch.

    A claim of `epoch` itself does not count: its ledger knows which it holds, and may have one that it does not
    know of when an answer was lost.
    """
    if row.owner is not None and row.owner != epoch and (holder := instances.find(tx, row.owner)):
        return holder
    for batch_id, _, _ in row.prepared:
        owner = batches.owner_of(tx, batch_id)
        if owner is not None and (holder := instances.find(tx, owner)):
            return holder
    return None


def _claimed(wish: Wish, row: ObjectRow, earlier: ObjectRow | None) -> ObjectRow:
    """The object in the hands of who wished for it, with what counts for it of the one that it began as."""
    row = msgspec.structs.replace(row, owner=wish.epoch, done=False)
    if wish.may_grow and wish.stored_bytes:
        row = msgspec.structs.replace(row, stored_bytes=wish.stored_bytes)
    if earlier is not None and not row.committed and (inherited := _inherited(earlier)):
        row = msgspec.structs.replace(row, committed=inherited, framing=earlier.framing)
    return row


def _inherited(earlier: ObjectRow) -> tuple[Range, ...]:
    """What is committed of the object that grew, in whole or in part. What took the last ordinal does not count when
    its end was open: what was appended may have continued it."""
    if earlier.tail_open and earlier.committed:
        total = earlier.total or earlier.committed[-1][1]
        return below(earlier.committed, total - 1)
    return earlier.committed


def _granted(row: ObjectRow) -> Claim:
    return Claim(status="granted", identity=row.identity, skip=row.committed, framing=row.framing, total=row.total)
