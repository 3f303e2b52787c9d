"""Instances: the daemons that share a state, each registered under an epoch that is never used again.

A claim belongs to an epoch, and is free once that epoch is no longer registered here.
"""

from __future__ import annotations

import msgspec

from ingestd.state.base import Transaction

TABLES = (
    """
    CREATE TABLE instances (
        epoch BIGINT NOT NULL PRIMARY KEY,
        lock_file TEXT NOT NULL,
        lease_until DOUBLE PRECISION NOT NULL,
        started_at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE TABLE epochs (last BIGINT NOT NULL)",
    "INSERT INTO epochs VALUES (0)",
)


class Instance(msgspec.Struct, frozen=True):
    """A registered daemon."""

    epoch: int
    lock_file: str
    """Name of the file it holds locked while it lives; empty where there is none."""
    lease_until: float


def register(tx: Transaction, lock_file: str, now: float, lease_until: float) -> int:
    """Enter a daemon; its new epoch."""
    epoch: int = tx.execute("UPDATE epochs SET last = last + 1 RETURNING last")[0][0]
    tx.execute(
        "INSERT INTO instances VALUES (:epoch, :lock_file, :lease_until, :now)",
        {"epoch": epoch, "lock_file": lock_file, "lease_until": lease_until, "now": now},
    )
    return epoch


def renew(tx: Transaction, epoch: int, lease_until: float) -> bool:
    """Extend the lease; False when the epoch was removed meanwhile."""
    sql = "UPDATE instances SET lease_until = :until WHERE epoch = :epoch RETURNING epoch"
    return bool(tx.execute(sql, {"epoch": epoch, "until": lease_until}))


def find(tx: Transaction, epoch: int) -> Instance | None:
    """The instance registered under this epoch."""
    sql = "SELECT epoch, lock_file, lease_until FROM instances WHERE epoch = :epoch"
    rows = tx.execute(sql, {"epoch": epoch})
    return Instance(*rows[0]) if rows else None


def list_all(tx: Transaction) -> list[Instance]:
    """Every registered instance."""
    return [
        Instance(*row) for row in tx.execute("SELECT epoch, lock_file, lease_until FROM instances ORDER BY epoch")
    ]


def remove(tx: Transaction, epoch: int) -> None:
    """Let an epoch end. Idempotent."""
    tx.execute("DELETE FROM instances WHERE epoch = :epoch", {"epoch": epoch})


def remove_expired(tx: Transaction, epoch: int, expired_before: float) -> None:
    """Let an epoch end whose lease ran out before that moment; nothing happens when it was renewed since."""
    tx.execute(
        "DELETE FROM instances WHERE epoch = :epoch AND lease_until < :before",
        {"epoch": epoch, "before": expired_before},
    )
