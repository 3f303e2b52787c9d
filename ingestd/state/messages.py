"""Messages: those that are events themselves, finished a short while ago; and how often a message failed.

Queues deliver such messages by the million and repeat some of them within minutes. One row per batch holds the
digests of its messages, sorted, 10 bytes each (the digest that their `p_row_id` begins with).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ingestd.model import row_id_prefix
from ingestd.state.base import Transaction

TABLES = (
    """
    CREATE TABLE finished_messages (
        sequence BIGINT NOT NULL PRIMARY KEY,
        digests BLOB NOT NULL,
        finished_at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE TABLE finished_messages_sequence (last BIGINT NOT NULL)",
    "INSERT INTO finished_messages_sequence VALUES (0)",
    """
    CREATE TABLE message_failures (
        source TEXT NOT NULL,
        message_id TEXT NOT NULL,
        attempts BIGINT NOT NULL,
        reason TEXT NOT NULL,
        touched_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (source, message_id)
    )
    """,
)

DIGEST_BYTES = 10
_IDENTITY_PREFIX = "message:"


class FinishedMessages(msgspec.Struct, frozen=True):
    """The messages that one batch finished."""

    sequence: int
    """Grows in the order of the commits."""
    digests: bytes
    finished_at: float


def is_message(identity: str) -> bool:
    """Whether the identity is that of a message which is an event itself."""
    return identity.startswith(_IDENTITY_PREFIX)


def digest_of(identity: str) -> bytes:
    """The digest kept of a message."""
    return bytes.fromhex(row_id_prefix(identity))


def add_finished(tx: Transaction, identities: Iterable[str], now: float) -> None:
    """Note the messages that a batch finished."""
    digests = b"".join(sorted(digest_of(identity) for identity in identities))
    sequence = tx.execute("UPDATE finished_messages_sequence SET last = last + 1 RETURNING last")[0][0]
    tx.execute(
        "INSERT INTO finished_messages VALUES (:sequence, :digests, :now)",
        {"sequence": sequence, "digests": digests, "now": now},
    )


def finished_after(tx: Transaction, sequence: int, since: float) -> list[FinishedMessages]:
    """What was finished after `sequence`, and not before the moment `since`, in the order of the commits."""
    rows = tx.execute(
        "SELECT sequence, digests, finished_at FROM finished_messages"
        " WHERE sequence > :sequence AND finished_at >= :since ORDER BY sequence",
        {"sequence": sequence, "since": since},
    )
    return [FinishedMessages(*row) for row in rows]


def count_failure(tx: Transaction, source: str, message_id: str, reason: str, now: float) -> int:
    """Count a failed attempt; how many there are now."""
    rows = tx.execute(
        "INSERT INTO message_failures VALUES (:source, :message_id, 1, :reason, :now)"
        " ON CONFLICT (source, message_id) DO UPDATE SET attempts = message_failures.attempts + 1,"
        " reason = excluded.reason, touched_at = excluded.touched_at RETURNING attempts",
        {"source": source, "message_id": message_id, "reason": reason, "now": now},
    )
    return int(rows[0][0])


def forget_failures(tx: Transaction, source: str, message_id: str) -> None:
    """Drop the count. Idempotent."""
    sql = "DELETE FROM message_failures WHERE source = :source AND message_id = :message_id"
    tx.execute(sql, {"source": source, "message_id": message_id})


def sweep_finished(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` rows of messages finished before that moment; how many."""
    rows = tx.execute(
        "DELETE FROM finished_messages WHERE sequence IN (SELECT sequence FROM finished_messages"
        " WHERE finished_at < :before ORDER BY sequence LIMIT :limit) RETURNING sequence",
        {"before": before, "limit": limit},
    )
    return len(rows)


def sweep_failures(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to `limit` counts that have not changed since that moment; how many."""
    rows = tx.execute(
        "SELECT source, message_id FROM message_failures WHERE touched_at < :before LIMIT :limit",
        {"before": before, "limit": limit},
    )
    for source, message_id in rows:
        forget_failures(tx, source, message_id)
    return len(rows)
