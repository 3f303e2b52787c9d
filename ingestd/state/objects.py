"""Objects: who has claimed which identity, and which of its ordinals are committed.

One row per object, in the end with one committed range. `owner` is the epoch of the instance that claimed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


_COLUMNS = "identity, owner, done, committed, prepared, total, framing, compression, stored_bytes, tail_open"
_FIND = f"SELECT {_COLUMNS} FROM objects WHERE identity = :identity"  # noqa: S608 - our own column names
_NEWEST = f"""
    SELECT {_COLUMNS} FROM objects WHERE url = :url AND may_grow = 1 AND (done = 1 OR committed <> '[]')
    ORDER BY touched_at DESC LIMIT 1
"""  # noqa: S608 - our own column names
_SAVE = """
    UPDATE objects SET owner = :owner, done = :done, committed = :committed,
        prepared = :prepared, total = :total, framing = :framing, compression = :compression,
        stored_bytes = :stored_bytes, tail_open = :tail_open, touched_at = :now
    WHERE identity = :identity
"""
_PER_QUERY = 250
_DONE_AMONG = f"""
    SELECT identity FROM objects
    WHERE done = 1 AND identity IN ({", ".join(f":i{n}" for n in range(_PER_QUERY))})
"""  # noqa: S608 - names of parameters only
_committed = msgspec.json.Decoder(tuple[Range, ...])
_prepared = msgspec.json.Decoder(tuple[PreparedRange, ...])


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _row(columns: Row) -> ObjectRow:
    identity, owner, done, committed, prepared, total, framing, compression, stored_bytes, tail = columns
    return ObjectRow(
        identity=identity,
        owner=owner,
        done=bool(done),
        committed=_committed.decode(committed),
        prepared=_prepared.decode(prepared) if prepared != "[]" else (),
        total=total,
        framing=framing,
        compression=compression,
        stored_bytes=stored_bytes,
        tail_open=bool(tail),
    )


def find(tx: Transaction, identity: str) -> ObjectRow | None:
    """What is known of this identity."""
    rows = tx.execute(_FIND, {"identity": identity})
    return _row(rows[0]) if rows else None


def done_among(tx: Transaction, identities: Sequence[str]) -> set[str]:
    """Those of the identities of which every record is committed."""
    done: set[str] = set()
    for start in range(0, len(identities), _PER_QUERY):
        some = list(identities[start : start + _PER_QUERY])
        some += some[-1:] * (_PER_QUERY - len(some))
        done.update(row[0] for row in tx.execute(_DONE_AMONG, {f"i{n}": name for n, name in enumerate(some)}))
    return done


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


def add(
    tx: Transaction,
    identity: str,
    *,
    source: str,
    url: str,
    may_grow: bool,
    stored_bytes: int,
    owner: int,
    now: float,
) -> ObjectRow:
    """Enter an object that was unknown, claimed by `owner`."""
    tx.execute(
        "INSERT INTO objects VALUES (:identity, :source, :url, :may_grow, :owner, 0, '[]', '[]',"
        " NULL, NULL, 'none', :stored_bytes, 0, :now)",
        {
            "identity": identity,
            "source": source,
            "url": url,
            "may_grow": int(may_grow),
            "stored_bytes": stored_bytes,
            "owner": owner,
            "now": now,
        },
    )
    return ObjectRow(identity=identity, owner=owner, stored_bytes=stored_bytes)


def save(tx: Transaction, row: ObjectRow, now: float) -> None:
    """Write what has changed of an object that was read in this transaction."""
    params = {**msgspec.structs.asdict(row), "now": now}
    params["committed"] = _text(row.committed)
    params["prepared"] = _text(row.prepared)
    tx.execute(_SAVE, params)


def free(tx: Transaction, identity: str, owner: int) -> None:
    """End `owner`'s claim; nothing happens when it has none."""
    sql = "UPDATE objects SET owner = NULL WHERE identity = :identity AND owner = :owner"
    tx.execute(sql, {"identity": identity, "owner": owner})


def set_prepared(tx: Transaction, identity: str, prepared: tuple[PreparedRange, ...]) -> None:
    """Note which of its ordinals are in batches that are not committed yet."""
    sql = "UPDATE objects SET prepared = :prepared WHERE identity = :identity"
    tx.execute(sql, {"identity": identity, "prepared": _text(prepared)})


def remove(tx: Transaction, identity: str) -> None:
    """Drop the row. Idempotent."""
    tx.execute("DELETE FROM objects WHERE identity = :identity", {"identity": identity})


def sweep(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` objects that nobody has touched since `before` and nobody is reading; how many."""
    rows = tx.execute(
        "DELETE FROM objects WHERE identity IN (SELECT identity FROM objects WHERE touched_at < :before"
        " AND prepared = '[]' AND (owner IS NULL OR owner NOT IN (SELECT epoch FROM instances))"
        " ORDER BY touched_at LIMIT :limit) RETURNING identity",
        {"before": before, "limit": limit},
    )
    return len(rows)
