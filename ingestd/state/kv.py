"""The rules' key-value store, durable and shared by all daemons on the state.

What an operation does is said in `ingestd.detections.kv`; here it becomes atomic, and repeatable: a call is
known by (rule, row, number of the call within the evaluation). When a record is evaluated again after a crash,
each call gets the answer it got the first time and changes nothing. Answers to reads are kept as soon as the
same evaluation writes, because what it wrote may depend on them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from ingestd.detections.kv import Item, Request, apply
from ingestd.errors import Permanent
from ingestd.state.base import State, Transaction
from ingestd.state.row_keys import DAY_SECS, row_key

TABLES = (
    """CREATE TABLE rule_items (
        item_key TEXT NOT NULL PRIMARY KEY,
        expires_at DOUBLE PRECISION,
        item TEXT NOT NULL
    )""",
    "CREATE INDEX rule_items_expiry ON rule_items (expires_at)",
    "CREATE TABLE rule_calls (call BLOB NOT NULL PRIMARY KEY, answer TEXT NOT NULL, day INTEGER NOT NULL)",
)

MAX_KEY_CHARS = 2_048
MAX_ITEM_BYTES = 400_000
"""Both as in the store that the public helpers were written for."""
_MAX_COUNT = 2**53
"""Counters stay exact in every JSON reader."""
_MAX_OPEN_EVALUATIONS = 10_000
_MAX_OPEN_CHARS = 32 << 20
"""Of the answers to their reads."""

_item = msgspec.json.Decoder(Item)

Call = tuple[bytes, str]
"""(key of the call, its answer as JSON)."""


class RuleStore:
    """Answers the rules' requests that come from the workers."""

    def __init__(self, state: State, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._reads: OrderedDict[bytes, list[Call]] = OrderedDict()
        """Answers to reads of evaluations that have not written yet; the oldest fall out."""
        self._chars = 0
        """Of these answers."""

    async def call(self, rule: str, row_id: str, number: int, request: Request) -> Item:
        """Carry out call `number` (from 0) of this rule's evaluation of this row, or answer it as before.

        Raises `Permanent` when the request cannot be kept, `Retryable` when the state cannot be reached.
        """
        evaluation = row_key(row_id, rule)
        call = evaluation + number.to_bytes(4, "big")
        now = self._clock()
        if request.operation == "get":
            item = await self._state.read(lambda tx: recorded(tx, call) or get(tx, request.key, now))
            self._note(evaluation, number, (call, _encoded(item)))
            return item
        reads = tuple(self._reads.get(evaluation, ()))
        item = await self._state.transact(lambda tx: write(tx, call, request, now, reads))
        self._forget(evaluation)
        return item

    def _note(self, evaluation: bytes, number: int, call: Call) -> None:
        if number == 0:
            self._forget(evaluation)  # it begins anew
        self._reads.setdefault(evaluation, []).append(call)
        self._reads.move_to_end(evaluation)
        self._chars += len(call[1])
        while len(self._reads) > _MAX_OPEN_EVALUATIONS or self._chars > _MAX_OPEN_CHARS:
            self._forget(next(iter(self._reads)))

    def _forget(self, evaluation: bytes) -> None:
        self._chars -= sum(len(answer) for _, answer in self._reads.pop(evaluation, ()))


def recorded(tx: Transaction, call: bytes) -> Item | None:
    """The answer this call was given before."""
    rows = tx.execute("SELECT answer FROM rule_calls WHERE call = :call", {"call": call})
    return _item.decode(rows[0][0]) if rows else None


def get(tx: Transaction, key: str, now: float) -> Item:
    """What is kept under a key now; empty when it has expired."""
    rows = tx.execute("SELECT item FROM rule_items WHERE item_key = :key", {"key": key})
    item = _item.decode(rows[0][0]) if rows else Item()
    return apply(item, Request(operation="get", key=key), now)


def write(tx: Transaction, call: bytes, request: Request, now: float, reads: Sequence[Call]) -> Item:
    """Change an item once; a repeat of `call` answers as the first time. `reads` are kept with it."""
    before = recorded(tx, call)
    if before is not None:
        return before
    item = apply(get(tx, request.key, now), request, now)
    text = _checked(request, item)
    if item == Item():  # reset: a rule may do so for every key that an event names
        tx.execute("DELETE FROM rule_items WHERE item_key = :key", {"key": request.key})
    else:
        _keep(tx, request.key, item, text)
    day = int(now // DAY_SECS)
    tx.executemany(
        "INSERT INTO rule_calls (call, answer, day) VALUES (:call, :answer, :day) ON CONFLICT (call) DO NOTHING",
        [{"call": key, "answer": answer, "day": day} for key, answer in (*reads, (call, text))],
    )
    return item


def _keep(tx: Transaction, key: str, item: Item, text: str) -> None:
    tx.execute(
        "INSERT INTO rule_items (item_key, expires_at, item) VALUES (:key, :expires_at, :item)"
        " ON CONFLICT (item_key) DO UPDATE SET expires_at = :expires_at, item = :item",
        {"key": key, "expires_at": item.expires_at, "item": text},
    )


def sweep_items(tx: Transaction, now: float, limit: int) -> int:
    """Delete up to `limit` expired items; how many."""
    rows = tx.execute(
        "DELETE FROM rule_items WHERE item_key IN"
        " (SELECT item_key FROM rule_items WHERE expires_at <= :now LIMIT :limit) RETURNING item_key",
        {"now": now, "limit": limit},
    )
    return len(rows)


def calls_after(tx: Transaction, *, after: bytes, limit: int) -> tuple[bytes, int]:
    """The last key and the oldest day of the `limit` calls that follow the key `after`; the key is empty when
    there are none."""
    sql = (
        "SELECT max(call), min(day) FROM"
        " (SELECT call, day FROM rule_calls WHERE call > :after ORDER BY call LIMIT :limit) AS part"
    )
    last, day = tx.execute(sql, {"after": after, "limit": limit})[0]
    return bytes(last or b""), day or 0


def forget_calls(tx: Transaction, *, after: bytes, last: bytes, before_day: int) -> None:
    """Forget calls with keys in (after, last] that were made before that day."""
    tx.execute(
        "DELETE FROM rule_calls WHERE call > :after AND call <= :last AND day < :day",
        {"after": after, "last": last, "day": before_day},
    )


def _encoded(item: Item) -> str:
    return msgspec.json.encode(item).decode()


def _checked(request: Request, item: Item) -> str:
    """The item as JSON, within the limits."""
    text = _encoded(item)
    if len(request.key) > MAX_KEY_CHARS:
        message = f"a rule's key has {len(request.key)} characters, more than {MAX_KEY_CHARS}"
        raise Permanent(message, reason="key_size")
    if len(text.encode()) > MAX_ITEM_BYTES:
        raise Permanent(
            f"the item of key {request.key!r} would have more than {MAX_ITEM_BYTES} bytes", reason="item_size"
        )
    if abs(item.count or 0) > _MAX_COUNT:
        raise Permanent(f"the counter of key {request.key!r} would pass {_MAX_COUNT}", reason="counter_size")
    return text
