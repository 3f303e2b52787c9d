"""Objects: who has claimed which identity, and which of its ordinals are committed.

One row per object, in the end with one committed range. `owner` is the epoch of the instance that claimed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ingestd.model import Range
from ingestd.state.base import Row, Transaction

TABLES = (
    """
    CREATE TABLE objects (
        identity TEXT NOT NULL PRIMARY KEY,
        source TEXT NOT NULL,
        url TEXT NOT NULL,
        may_grow BIGINT NOT NULL,
        owner BIGINT,
        done BIGINT NOT NULL,
        committed TEXT NOT NULL,
        prepared TEXT NOT NULL,
        total BIGINT,
        framing TEXT,
        compression TEXT NOT NULL,
        stored_bytes BIGINT NOT NULL,
        tail_open BIGINT NOT NULL,
        touched_at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX objects_by_age ON objects (touched_at)",
    "CREATE INDEX objects_that_grow ON objects (url, touched_at) WHERE may_grow = 1",
)

PreparedRange = tuple[str, int, int]
"""Batch id, first ordinal, end."""


class ObjectRow(msgspec.Struct, frozen=True):
    """What is known of an object."""

    identity: str
    owner: int | None = None
    done: bool = False
    committed: tuple[Range, ...] = ()
    prepared: tuple[PreparedRange, ...] = ()
    total: int | None = None
    """Ordinals in all when it was last read to its end; None when nobody has."""
    framing: str | None = None
    compression: str = "none"
    stored_bytes: int = 0
    tail_open: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is claimed, and for whom."""

    identity: str
    source: str
    url: str
    epoch: int
    may_grow: bool = False
    stored_bytes: int = 0
    grown_from: str | None = None


_COLUMNS = "identity, owner, done, committed, prepared, total, framing, compression, stored_bytes, tail_open"
_NEWEST = f"""
    SELECT {_COLUMNS} FROM objects WHERE url = :url AND may_grow = 1 AND (done = 1 OR committed <> '[]')
    ORDER BY touched_at DESC LIMIT 1
"""  # noqa: S608 - our own column names
_ADD = """
    INSERT INTO objects VALUES (:identity, :source, :url, :may_grow, :epoch, 0, '[]', '[]',
        NULL, NULL, 'none', :stored_bytes, 0, :now)
"""
_SAVE = """
    UPDATE objects SET owner = :owner, done = :done, committed = :committed,
        prepared = :prepared, total = :total, framing = :framing, compression = :compression,
        stored_bytes = :stored_bytes, tail_open = :tail_open, touched_at = :now
    WHERE identity = :identity
"""
_PIECES = (64, 16, 4, 1)
"""Identities that one statement asks for. Few sizes, so that each statement is compiled once; more take no less."""
_PARAMETERS = [f"i{n}" for n in range(_PIECES[0])]
_encoder = msgspec.json.Encoder()
_committed = msgspec.json.Decoder(tuple[Range, ...])
_prepared = msgspec.json.Decoder(tuple[PreparedRange, ...])


def _text(ranges: tuple[Range, ...] | tuple[PreparedRange, ...]) -> str:
    return _encoder.encode(ranges).decode() if ranges else "[]"


def _row(columns: Row) -> ObjectRow:
    identity, owner, done, committed, prepared, total, framing, compression, stored_bytes, tail_open = columns
    return ObjectRow(
        identity,
        owner,
        bool(done),
        _committed.decode(committed) if committed != "[]" else (),
        _prepared.decode(prepared) if prepared != "[]" else (),
        total,
        framing,
        compression,
        stored_bytes,
        bool(tail_open),
    )


def find_all(tx: Transaction, identities: Sequence[str]) -> dict[str, ObjectRow]:
    """What is known of these identities, of those that are known."""
    found = map(_row, _among(tx, f"SELECT {_COLUMNS} FROM objects", identities))  # noqa: S608 - our own column names
    return {row.identity: row for row in found}


def done_among(tx: Transaction, identities: Sequence[str]) -> set[str]:
    """Those of the identities of which every record is committed."""
    return {identity for identity, done in _among(tx, "SELECT identity, done FROM objects", identities) if done}


def _among(tx: Transaction, select: str, identities: Sequence[str]) -> Iterator[Row]:
    start = 0
    while left := len(identities) - start:
        size = next(size for size in _PIECES if size <= left)
        names = _PARAMETERS[:size]
        sql = f"{select} WHERE identity IN (:{', :'.join(names)})"
        yield from tx.execute(sql, dict(zip(names, identities[start : start + size], strict=True)))
        start += size


def newest_at(tx: Transaction, url: str) -> ObjectRow | None:
    """Of the objects at this URL that may grow, the last of which anything is committed."""
    rows = tx.execute(_NEWEST, {"url": url})
    return _row(rows[0]) if rows else None


def move(tx: Transaction, urls: Mapping[str, str], now: float) -> None:
    """Objects (identity → URL) that may grow lie there from now on: `newest_at` finds them."""
    tx.executemany(
        "UPDATE objects SET url = :url, touched_at = :now WHERE identity = :identity",
        ({"identity": identity, "url": url, "now": now} for identity, url in urls.items()),
    )


def add(tx: Transaction, wishes: Iterable[Wish], now: float) -> None:
    """Enter objects that were unknown, as claimed."""
    rows = ({**msgspec.structs.asdict(wish), "may_grow": int(wish.may_grow), "now": now} for wish in wishes)
    tx.executemany(_ADD, rows)


def save(tx: Transaction, rows: Iterable[ObjectRow], now: float) -> None:
    """Write what has changed of objects that were read in this transaction."""
    tx.executemany(_SAVE, (_params(row, now) for row in rows))


def _params(row: ObjectRow, now: float) -> dict[str, Any]:
    return {
        "identity": row.identity,
        "owner": row.owner,
        "done": row.done,
        "committed": _text(row.committed),
        "prepared": _text(row.prepared),
        "total": row.total,
        "framing": row.framing,
        "compression": row.compression,
        "stored_bytes": row.stored_bytes,
        "tail_open": row.tail_open,
        "now": now,
    }


def free(tx: Transaction, identity: str, owner: int) -> None:
    """End `owner`'s claim; nothing happens when it has none."""
    sql = "UPDATE objects SET owner = NULL WHERE identity = :identity AND owner = :owner"
    tx.execute(sql, {"identity": identity, "owner": owner})


def set_prepared(tx: Transaction, prepared: Mapping[str, tuple[PreparedRange, ...]]) -> None:
    """Note which ordinals of objects are in batches that are not committed yet."""
    tx.executemany(
        "UPDATE objects SET prepared = :prepared WHERE identity = :identity",
        ({"identity": identity, "prepared": _text(ranges)} for identity, ranges in prepared.items()),
    )


def remove(tx: Transaction, identities: Iterable[str]) -> None:
    """Drop the rows. Idempotent."""
    sql = "DELETE FROM objects WHERE identity = :identity"
    tx.executemany(sql, ({"identity": identity} for identity in identities))


def sweep(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` objects that nobody has touched since `before` and nobody is reading; how many."""
    rows = tx.execute(
        "DELETE FROM objects WHERE identity IN (SELECT identity FROM objects WHERE touched_at < :before"
        " AND prepared = '[]' AND (owner IS NULL OR owner NOT IN (SELECT epoch FROM instances))"
        " ORDER BY touched_at LIMIT :limit) RETURNING identity",
        {"before": before, "limit": limit},
    )
    return len(rows)
