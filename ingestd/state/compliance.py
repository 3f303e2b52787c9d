"""Compliance: what each policy said of each resource when its last snapshot was read, and since when it says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ingestd.model import ResourceCheck, Verdict
from ingestd.state.base import Row, Transaction
from ingestd.state.row_keys import digest

TABLES = (
    """CREATE TABLE compliance (
        resource_key BLOB NOT NULL,
        policy_id TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        resource_type TEXT NOT NULL,
        verdict TEXT NOT NULL,
        since DOUBLE PRECISION NOT NULL,
        checked_at DOUBLE PRECISION NOT NULL,
        row_id TEXT NOT NULL,
        event_time TEXT NOT NULL,
        PRIMARY KEY (resource_key, policy_id)
    )""",
    "CREATE INDEX compliance_checked ON compliance (checked_at)",
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a resource stands with a policy."""

    resource_id: str
    resource_type: str
    policy_id: str
    verdict: Verdict
    since: float
    """When the first of the snapshots with this verdict was read, without another one between."""
    checked_at: float
    row_id: str
    """Of the last snapshot: its row in the lake."""


_COLUMNS = "resource_id, resource_type, policy_id, verdict, since, checked_at, row_id"


def record(tx: Transaction, checks: Sequence[ResourceCheck], now: float) -> None:
    """Note verdicts; of several snapshots of one resource, the newest. A policy that is no more asked about it is
    forgotten."""
    in_order = sorted(checks, key=lambda check: check.event_time)
    for check in {(check.resource_type, check.resource_id): check for check in in_order}.values():
        key = digest(check.resource_type, check.resource_id)
        known = tx.execute("SELECT policy_id, event_time FROM compliance WHERE resource_key = :key", {"key": key})
        by_policy: dict[str, str] = dict(known)
        if any(event_time > check.event_time for event_time in by_policy.values()):
            continue
        gone = by_policy.keys() - check.verdicts.keys()
        tx.executemany(
            "DELETE FROM compliance WHERE resource_key = :key AND policy_id = :policy_id",
            [{"key": key, "policy_id": policy_id} for policy_id in sorted(gone)],
        )
        tx.executemany(
            "INSERT INTO compliance (resource_key, policy_id, resource_id, resource_type, verdict, since, checked_at,"
            " row_id, event_time)"
            " VALUES (:key, :policy_id, :resource_id, :resource_type, :verdict, :now, :now, :row_id, :event_time)"
            " ON CONFLICT (resource_key, policy_id) DO UPDATE SET checked_at = :now, row_id = :row_id,"
            " event_time = :event_time,"
            " since = CASE WHEN compliance.verdict = :verdict THEN compliance.since ELSE :now END,"
            " verdict = :verdict",
            [_params(key, check, policy_id, verdict, now) for policy_id, verdict in check.verdicts.items()],
        )


def _params(key: bytes, check: ResourceCheck, policy_id: str, verdict: str, now: float) -> dict[str, Any]:
    return {
        "key": key,
        "policy_id": policy_id,
        "resource_id": check.resource_id,
        "resource_type": check.resource_type,
        "verdict": verdict,
        "now": now,
        "row_id": check.row_id,
        "event_time": check.event_time,
    }


def standings(
    tx: Transaction,
    *,
    limit: int,
    verdict: str | None = None,
    policy_id: str | None = None,
    resource_id: str | None = None,
    resource_type: str | None = None,
) -> list[Standing]:
    """How resources stand, those that changed last first."""
    wanted = {"verdict": verdict, "policy_id": policy_id, "resource_id": resource_id, "resource_type": resource_type}
    given = {name: value for name, value in wanted.items() if value is not None}
    where = " AND ".join(["1 = 1", *(f"{name} = :{name}" for name in given)])
    sql = (
        f"SELECT {_COLUMNS} FROM compliance WHERE {where}"  # noqa: S608 - names of columns; values are parameters
        " ORDER BY since DESC, resource_type, resource_id, policy_id LIMIT :limit"
    )
    return [_standing(row) for row in tx.execute(sql, {**given, "limit": limit})]


def _standing(row: Row) -> Standing:
    return Standing(**dict(zip(_COLUMNS.split(", "), row, strict=True)))


def sweep(tx: Transaction, *, before: float, limit: int) -> int:
    """Forget up to `limit` standings of resources of which no snapshot came since; how many."""
    rows = tx.execute(
        "SELECT resource_key, policy_id FROM compliance WHERE checked_at < :before LIMIT :limit",
        {"before": before, "limit": limit},
    )
    tx.executemany(
        "DELETE FROM compliance WHERE resource_key = :key AND policy_id = :policy_id",
        [{"key": bytes(key), "policy_id": policy_id} for key, policy_id in rows],
    )
    return len(rows)
