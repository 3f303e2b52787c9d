"""Objects that are still appended to: where they are, and when to look at them again.

A row is due to one daemon at a time: whoever takes it moves the time on, and has it back when that daemon dies.
"""

from __future__ import annotations

import msgspec

from ingestd.model import ObjectRef
from ingestd.state.base import Transaction

TABLES = (
    """
    CREATE TABLE growing (
        source TEXT NOT NULL,
        url TEXT NOT NULL,
        ref BLOB NOT NULL,
        every_secs DOUBLE PRECISION NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        looks BIGINT NOT NULL,
        PRIMARY KEY (source, url)
    )
    """,
    "CREATE INDEX growing_by_due ON growing (source, due_at)",
)

_FOLLOW = """
    INSERT INTO growing VALUES (:source, :url, :ref, :every, :now + :every, 0)
    ON CONFLICT (source, url) DO UPDATE SET every_secs = excluded.every_secs
"""
_TAKE = """
    UPDATE growing SET due_at = :until, looks = looks + 1 WHERE source = :source AND url IN
        (SELECT url FROM growing WHERE source = :source AND due_at <= :now ORDER BY due_at LIMIT :limit)
    RETURNING ref, looks
"""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ObjectRef)


class Due(msgspec.Struct, frozen=True):
    """An object to look at now."""

    ref: ObjectRef
    looks: int
    """How often it was taken since it was last looked at with success, this time included."""


def follow(tx: Transaction, source: str, ref: ObjectRef, every_secs: float, now: float) -> None:
    """Have the object looked at every so often; 0 when it will not grow any more and this look is the last. An
    object that nobody follows and that does not grow any more is not entered."""
    if every_secs == 0:
        sql = "UPDATE growing SET every_secs = 0 WHERE source = :source AND url = :url"
        tx.execute(sql, {"source": source, "url": ref.url})
        return
    place = ObjectRef(store=ref.store, bucket=ref.bucket, key=ref.key)
    tx.execute(
        _FOLLOW,
        {"source": source, "url": ref.url, "ref": _encoder.encode(place), "every": every_secs, "now": now},
    )


def take_due(tx: Transaction, source: str, limit: int, now: float, until: float) -> list[Due]:
    """Up to `limit` objects that are due, which are not due to anyone else before `until`."""
    rows = tx.execute(_TAKE, {"source": source, "limit": limit, "now": now, "until": until})
    return [Due(_decoder.decode(ref), looks) for ref, looks in rows]


def put_off(tx: Transaction, source: str, url: str, until: float) -> None:
    """Not due before that moment."""
    sql = "UPDATE growing SET due_at = :until WHERE source = :source AND url = :url"
    tx.execute(sql, {"source": source, "url": url, "until": until})


def looked(tx: Transaction, source: str, url: str, now: float) -> None:
    """It was looked at, and what was found is committed: due again in its time, or forgotten after the last look."""
    key = {"source": source, "url": url, "now": now}
    tx.execute("DELETE FROM growing WHERE source = :source AND url = :url AND every_secs = 0", key)
    tx.execute("UPDATE growing SET due_at = :now + every_secs, looks = 0 WHERE source = :source AND url = :url", key)


def drop(tx: Transaction, source: str, url: str) -> None:
    """Follow it no more. Idempotent."""
    tx.execute("DELETE FROM growing WHERE source = :source AND url = :url", {"source": source, "url": url})


def sweep(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` objects that were due before that moment and nobody took: their source is gone; how many."""
    rows = tx.execute(
        "DELETE FROM growing WHERE (source, url) IN"
        " (SELECT source, url FROM growing WHERE due_at < :before LIMIT :limit) RETURNING url",
        {"before": before, "limit": limit},
    )
    return len(rows)
