"""What runs by the clock: when each thing is due, how far it has come, and results that are not worked off yet.

A turn is taken under a lease, and finished by compare-and-set: only who still holds it, at the time for which it was
taken, moves it on, and in the same transaction leaves its result. So each turn has one result, whoever else tried.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ingestd.state.base import Transaction

TABLES = (
    """CREATE TABLE schedules (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        position BIGINT NOT NULL,
        holder BIGINT,
        held_until DOUBLE PRECISION NOT NULL,
        seen_at DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (kind, name)
    )""",
    """CREATE TABLE results (
        id TEXT NOT NULL PRIMARY KEY,
        origin TEXT NOT NULL,
        made_at DOUBLE PRECISION NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        holder BIGINT,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX results_by_due ON results (due_at)",
)

Kind = Literal["query", "correlation"]

_FREE = "(holder IS NULL OR holder NOT IN (SELECT epoch FROM instances))"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is due, held by one daemon."""

    kind: Kind
    name: str
    due_at: float
    position: int
    holder: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn found, or how it failed, for the detections that it is meant for."""

    id: str
    """Names the turn, so that it is the same however often it is made."""
    origin: dict[str, str]
    """`kind`, `name` and `time`."""
    body: bytes
    """JSON lines, compressed."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """When something is due, and how far it has come."""

    kind: Kind
    name: str
    due_at: float
    position: int


# --- turns ------------------------------------------------------------------------------------------------


def enter(tx: Transaction, kind: Kind, name: str, due_at: float, now: float, *, no_later: float) -> None:
    """Have it be due then. One that is known stays as it is, but is due no later than `no_later`: it may have become
    more frequent."""
    tx.execute(
        "INSERT INTO schedules (kind, name, due_at, position, held_until, seen_at)"
        " VALUES (:kind, :name, :due, 0, 0, :now) ON CONFLICT (kind, name) DO UPDATE SET seen_at = :now,"
        " due_at = CASE WHEN schedules.due_at > :latest THEN :latest ELSE schedules.due_at END",
        {"kind": kind, "name": name, "due": due_at, "now": now, "latest": no_later},
    )


def standings(tx: Transaction, now: float) -> list[Standing]:
    """Everything that is due, held by nobody."""
    rows = tx.execute(
        "SELECT kind, name, due_at, position FROM schedules"  # noqa: S608 - a constant
        f" WHERE due_at <= :now AND (held_until <= :now OR {_FREE}) ORDER BY due_at, kind, name",
        {"now": now},
    )
    return [Standing(kind=kind, name=name, due_at=due, position=position) for kind, name, due, position in rows]


def positions(tx: Transaction, kind: Kind) -> dict[str, int]:
    """How far each thing of a kind has come, by name."""
    rows = tx.execute("SELECT name, position FROM schedules WHERE kind = :kind", {"kind": kind})
    return dict(rows)


def take(tx: Transaction, standing: Standing, holder: int, now: float, until: float) -> Turn | None:
    """Hold a turn until then; None when somebody else has it, or has finished it."""
    rows = tx.execute(
        "UPDATE schedules SET holder = :holder, held_until = :until"  # noqa: S608 - a constant
        " WHERE kind = :kind AND name = :name AND due_at = :due AND position = :position"
        f" AND (held_until <= :now OR {_FREE}) RETURNING name",
        {
            "kind": standing.kind,
            "name": standing.name,
            "due": standing.due_at,
            "position": standing.position,
            "holder": holder,
            "now": now,
            "until": until,
        },
    )
    if not rows:
        return None
    return Turn(**msgspec.structs.asdict(standing), holder=holder)


def finish(tx: Transaction, turn: Turn, *, due_at: float, position: int, result: Result | None, now: float) -> bool:
    """Move on to the next turn, and leave the result; False, and nothing changes, when it is not ours any more."""
    rows = tx.execute(
        "UPDATE schedules SET due_at = :next, position = :moved, holder = NULL, held_until = 0"
        " WHERE kind = :kind AND name = :name AND due_at = :due AND position = :position AND holder = :holder"
        " RETURNING name",
        {
            "kind": turn.kind,
            "name": turn.name,
            "due": turn.due_at,
            "position": turn.position,
            "holder": turn.holder,
            "next": due_at,
            "moved": position,
        },
    )
    if rows and result is not None:
        tx.execute(
            "INSERT INTO results (id, origin, made_at, due_at, body) VALUES (:id, :origin, :now, :now, :body)"
            " ON CONFLICT (id) DO NOTHING",
            {
                "id": result.id,
                "origin": msgspec.json.encode(result.origin).decode(),
                "now": now,
                "body": result.body,
            },
        )
    return bool(rows)


def give_back(tx: Transaction, turn: Turn) -> None:
    """Let somebody else have it."""
    tx.execute(
        "UPDATE schedules SET holder = NULL, held_until = 0"
        " WHERE kind = :kind AND name = :name AND due_at = :due AND holder = :holder",
        {"kind": turn.kind, "name": turn.name, "due": turn.due_at, "holder": turn.holder},
    )


def sweep(tx: Transaction, *, before: float) -> None:
    """Forget what nobody has entered since then: it is not enabled any more."""
    tx.execute("DELETE FROM schedules WHERE seen_at < :before", {"before": before})


# --- results ----------------------------------------------------------------------------------------------


def take_results(tx: Transaction, holder: int, limit: int, now: float, until: float) -> list[str]:
    """Ids of up to `limit` results that nobody works on; nobody else is given them before `until`, or our end."""
    rows = tx.execute(
        "UPDATE results SET due_at = :until, holder = :holder WHERE id IN (SELECT id FROM results"  # noqa: S608 - a constant
        f" WHERE due_at <= :now OR (holder IS NOT NULL AND {_FREE}) ORDER BY made_at, id LIMIT :limit) RETURNING id",
        {"holder": holder, "limit": limit, "now": now, "until": until},
    )
    return [row[0] for row in rows]


def result(tx: Transaction, result_id: str) -> Result | None:
    """A result that is not worked off yet."""
    rows = tx.execute("SELECT origin, body FROM results WHERE id = :id", {"id": result_id})
    if not rows:
        return None
    return Result(id=result_id, origin=msgspec.json.decode(rows[0][0]), body=bytes(rows[0][1]))


def put_off(tx: Transaction, result_id: str, until: float) -> None:
    """Not handed out before then."""
    tx.execute(
        "UPDATE results SET due_at = :until, holder = CASE WHEN :until > due_at THEN holder END WHERE id = :id",
        {"id": result_id, "until": until},
    )


def drop(tx: Transaction, result_id: str) -> None:
    """It is worked off. Idempotent."""
    tx.execute("DELETE FROM results WHERE id = :id", {"id": result_id})


def waiting_bytes(tx: Transaction) -> int:
    """How much room the results take that are not worked off."""
    return int(tx.execute("SELECT coalesce(sum(length(body)), 0) FROM results")[0][0])


def waiting(tx: Transaction) -> int:
    """Results that are not worked off."""
    return int(tx.execute("SELECT count(*) FROM results")[0][0])
