"""Listings: how far each backfill has come, so that it can be broken off and go on.

Everything before a position is finished; what comes after it may be finished too, which the ledger knows.
"""

from __future__ import annotations

from ingestd.state.base import Transaction

TABLES = (
    """
    CREATE TABLE listings (
        listing TEXT NOT NULL PRIMARY KEY,
        position TEXT NOT NULL,
        touched_at DOUBLE PRECISION NOT NULL
    )
    """,
)


def position(tx: Transaction, listing: str) -> str:
    """Where a listing goes on; empty for its start."""
    rows = tx.execute("SELECT position FROM listings WHERE listing = :listing", {"listing": listing})
    return str(rows[0][0]) if rows else ""


def reach(tx: Transaction, listing: str, reached: str, now: float) -> None:
    """Note that everything up to `reached` is finished."""
    tx.execute(
        "INSERT INTO listings VALUES (:listing, :position, :now)"
        " ON CONFLICT (listing) DO UPDATE SET position = excluded.position, touched_at = excluded.touched_at",
        {"listing": listing, "position": reached, "now": now},
    )


def forget(tx: Transaction, listing: str) -> None:
    """The listing is finished, or is to begin anew. Idempotent."""
    tx.execute("DELETE FROM listings WHERE listing = :listing", {"listing": listing})


def sweep(tx: Transaction, before: float) -> None:
    """Forget listings that nobody has gone on with since."""
    tx.execute("DELETE FROM listings WHERE touched_at < :before", {"before": before})
