"""The outbox: one row for each alert and destination, from the moment the alert is due until it is delivered.

    pending ──claimed under a lease──► sent      the destination took it
       ▲  └──────────────────────────► dead      refused for good, or tried for too long
       └── put back, due later ◄── failed for now           (`revive` makes a dead row pending again)

A claim is a lease on a pending row; who holds none changes nothing, so a daemon that lost its lease finds out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from ingestd.state.base import Row, Transaction

TABLES = (
    """CREATE TABLE alert_outbox (
        alert_id TEXT NOT NULL,
        destination TEXT NOT NULL,
        status TEXT NOT NULL,
        queued_at DOUBLE PRECISION NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        lease_owner TEXT NOT NULL DEFAULT '',
        lease_until DOUBLE PRECISION NOT NULL DEFAULT 0,
        finished_at DOUBLE PRECISION,
        reference TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (alert_id, destination)
    )""",
    "CREATE INDEX alert_outbox_pending ON alert_outbox (destination, due_at) WHERE status = 'pending'",
    "CREATE INDEX alert_outbox_dead ON alert_outbox (finished_at) WHERE status = 'dead'",
)

Status = Literal["pending", "sent", "dead"]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A row that this daemon may send now."""

    alert_id: str
    destination: str
    attempts: int
    """How often it was tried before."""
    queued_at: float
    owner: str
    """Who holds the lease."""


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True):
    """How far an alert is on its way to one destination."""

    alert_id: str
    destination: str
    status: Status
    queued_at: float
    due_at: float
    attempts: int
    finished_at: float | None
    reference: str
    """What the provider calls it; empty when it has no name for it."""
    error: str
    """Why the last attempt failed."""


_DELIVERY_COLUMNS = "alert_id, destination, status, queued_at, due_at, attempts, finished_at, reference, error"
_MINE = "alert_id = :alert_id AND destination = :destination AND status = 'pending' AND lease_owner = :owner"


# --- filling ----------------------------------------------------------------------------------------------


def enqueue(tx: Transaction, deliveries: Iterable[tuple[str, str]], now: float) -> None:
    """Make (alert id, destination) pairs due now. Those that are there already stay as they are."""
    tx.executemany(
        "INSERT INTO alert_outbox (alert_id, destination, status, queued_at, due_at)"
        " VALUES (:alert_id, :destination, 'pending', :now, :now) ON CONFLICT (alert_id, destination) DO NOTHING",
        ({"alert_id": alert_id, "destination": destination, "now": now} for alert_id, destination in deliveries),
    )


def add_undeliverable(tx: Transaction, deliveries: Iterable[tuple[str, str]], reason: str, now: float) -> None:
    """Note pairs that cannot be delivered, for people to see."""
    tx.executemany(
        "INSERT INTO alert_outbox (alert_id, destination, status, queued_at, due_at, finished_at, error)"
        " VALUES (:alert_id, :destination, 'dead', :now, :now, :now, :reason)"
        " ON CONFLICT (alert_id, destination) DO NOTHING",
        ({"alert_id": a, "destination": d, "now": now, "reason": reason} for a, d in deliveries),
    )


# --- delivering -------------------------------------------------------------------------------------------


def claim(
    tx: Transaction, destination: str, owner: str, *, now: float, lease_secs: float, limit: int
) -> list[Claimed]:
    """Lease up to `limit` rows that are due and free, the longest due first."""
    rows = tx.execute(
        "UPDATE alert_outbox SET lease_owner = :owner, lease_until = :until WHERE destination = :destination"
        " AND status = 'pending' AND alert_id IN (SELECT alert_id FROM alert_outbox WHERE destination = :destination"
        " AND status = 'pending' AND due_at <= :now AND lease_until <= :now ORDER BY due_at, alert_id LIMIT :limit)"
        " RETURNING alert_id, attempts, queued_at, due_at",
        {"destination": destination, "owner": owner, "until": now + lease_secs, "now": now, "limit": limit},
    )
    rows.sort(key=lambda row: (row[3], row[0]))
    return [
        Claimed(alert_id=row[0], destination=destination, attempts=row[1], queued_at=row[2], owner=owner)
        for row in rows
    ]


def sent(tx: Transaction, row: Claimed, *, now: float, reference: str) -> bool:
    """pending → sent; False when the lease was lost."""
    return _finish(tx, row, "status = 'sent', finished_at = :now, reference = :reference, error = ''",
                   {"now": now, "reference": reference})  # fmt: skip


def put_back(tx: Transaction, row: Claimed, *, due_at: float, error: str) -> bool:
    """Count a failed attempt and make the row due later; False when the lease was lost."""
    return _finish(tx, row, "due_at = :due_at, error = :error, lease_owner = '', lease_until = 0",
                   {"due_at": due_at, "error": error})  # fmt: skip


def dead(tx: Transaction, row: Claimed, *, now: float, error: str) -> bool:
    """pending → dead; False when the lease was lost."""
    return _finish(tx, row, "status = 'dead', finished_at = :now, error = :error",
                   {"now": now, "error": error})  # fmt: skip


def _finish(tx: Transaction, row: Claimed, change: str, params: dict[str, Any]) -> bool:
    names = {"alert_id": row.alert_id, "destination": row.destination, "owner": row.owner}
    sql = f"UPDATE alert_outbox SET attempts = attempts + 1, {change} WHERE {_MINE} RETURNING attempts"  # noqa: S608 - constants
    return bool(tx.execute(sql, {**names, **params}))


def release(tx: Transaction, owners: Sequence[str]) -> None:
    """Free every lease of these owners, who are gone or going."""
    tx.executemany(
        "UPDATE alert_outbox SET lease_owner = '', lease_until = 0 WHERE status = 'pending' AND lease_owner = :owner",
        ({"owner": owner} for owner in owners),
    )


def orphaned(tx: Transaction) -> list[str]:
    """Owners of leases that are not, or no longer, the epoch of a registered instance."""
    sql = (
        "SELECT DISTINCT lease_owner FROM alert_outbox WHERE status = 'pending' AND lease_owner <> ''"
        " AND lease_owner NOT IN (SELECT CAST(epoch AS TEXT) FROM instances)"
    )
    return [owner for (owner,) in tx.execute(sql)]


# --- looking ----------------------------------------------------------------------------------------------


def next_due(tx: Transaction, destination: str) -> float | None:
    """When the next row of this destination may be claimed; None when none waits."""
    rows = tx.execute(
        "SELECT min(CASE WHEN lease_until > due_at THEN lease_until ELSE due_at END) FROM alert_outbox"
        " WHERE destination = :destination AND status = 'pending'",
        {"destination": destination},
    )
    due: float | None = rows[0][0]
    return due


def waiting(tx: Transaction, *, until: float | None = None) -> dict[str, int]:
    """Destination → rows that are pending, or those due at the time `until`."""
    where = "" if until is None else " AND due_at <= :until"
    sql = f"SELECT destination, count(*) FROM alert_outbox WHERE status = 'pending'{where} GROUP BY destination"  # noqa: S608 - constants
    return dict(tx.execute(sql, {} if until is None else {"until": until}))


def deliveries(tx: Transaction, alert_ids: Sequence[str]) -> list[DeliveryState]:
    """How far these alerts are, by destination."""
    found: list[DeliveryState] = []
    sql = f"SELECT {_DELIVERY_COLUMNS} FROM alert_outbox WHERE alert_id = :alert_id ORDER BY destination"  # noqa: S608 - constants
    for alert_id in alert_ids:
        found.extend(_delivery(row) for row in tx.execute(sql, {"alert_id": alert_id}))
    return found


def failed(tx: Transaction, *, limit: int) -> list[DeliveryState]:
    """Rows that will not be delivered unless someone revives them, newest first."""
    sql = f"SELECT {_DELIVERY_COLUMNS} FROM alert_outbox WHERE status = 'dead' ORDER BY finished_at DESC LIMIT :limit"  # noqa: S608 - constants
    return [_delivery(row) for row in tx.execute(sql, {"limit": limit})]


def _delivery(row: Row) -> DeliveryState:
    return DeliveryState(**dict(zip(_DELIVERY_COLUMNS.split(", "), row, strict=True)))


# --- by hand, and by age ----------------------------------------------------------------------------------


def revive(tx: Transaction, *, now: float, alert_id: str | None, destination: str | None) -> int:
    """Make dead rows pending again: of one alert, of one destination, or all. Answers how many."""
    where, params = "status = 'dead'", {"now": now}
    for name, value in (("alert_id", alert_id), ("destination", destination)):
        if value is not None:
            where += f" AND {name} = :{name}"
            params[name] = value  # type: ignore[assignment]
    sql = (
        "UPDATE alert_outbox SET status = 'pending', queued_at = :now, due_at = :now, attempts = 0,"  # noqa: S608 - constants
        f" lease_owner = '', lease_until = 0, finished_at = NULL WHERE {where} RETURNING alert_id"
    )
    return len(tx.execute(sql, params))


def bury_orphans(
    tx: Transaction, destinations: Sequence[str], *, queued_before: float, now: float
) -> list[tuple[str, str]]:
    """pending → dead for old rows whose destination is none of these: it left the configuration. Answers them as
    (alert id, destination)."""
    orphans = [name for name in waiting(tx) if name not in destinations]
    buried: list[tuple[str, str]] = []
    for name in orphans:
        rows = tx.execute(
            "UPDATE alert_outbox SET status = 'dead', finished_at = :now, error = :error WHERE destination = :name"
            " AND status = 'pending' AND queued_at < :before AND lease_until <= :now"
            " RETURNING alert_id",
            {"name": name, "now": now, "before": queued_before, "error": "no destination of this name is configured"},
        )
        buried += [(alert_id, name) for (alert_id,) in rows]
    return buried
