"""Matches that correlation rules wait for: when they were, and the values by which they are joined.

They enter in the transaction that counts them for alerts, once each. Their numbers grow in the order of the commits,
so that "what came since" is a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ingestd.state.base import Row, Transaction

TABLES = (
    """CREATE TABLE sightings (
        seq BIGINT NOT NULL PRIMARY KEY,
        member BLOB NOT NULL,
        detection_id TEXT NOT NULL,
        row_id TEXT NOT NULL,
        time DOUBLE PRECISION NOT NULL,
        seen_at DOUBLE PRECISION NOT NULL,
        joins BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX sightings_member ON sightings (member)",
    "CREATE INDEX sightings_by_detection ON sightings (detection_id, seq)",
    "CREATE INDEX sightings_by_time ON sightings (detection_id, time)",
    "CREATE INDEX sightings_by_age ON sightings (seen_at)",
    "CREATE TABLE sightings_seen (last BIGINT NOT NULL)",
    "INSERT INTO sightings_seen VALUES (0)",
)

Joins = dict[str, tuple[str, ...]]

MOST_BYTES = 32 << 20
"""Of the values of sightings that are read at once."""
_LAST = (1 << 63) - 1
_COLUMNS = "seq, detection_id, row_id, time, seen_at, joins"
_decode = msgspec.msgpack.Decoder(Joins).decode


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One match that correlation rules wait for."""

    seq: int
    detection_id: str
    row_id: str
    time: float
    """Of the event, in seconds since the epoch."""
    seen_at: float
    """When it was committed here."""
    joins: Mapping[str, Sequence[str]]


class New(msgspec.Struct, frozen=True, kw_only=True):
    """A sighting to enter."""

    member: bytes
    """Key of (detection, kind, row): it is entered once."""
    detection_id: str
    row_id: str
    time: float
    joins: Joins


def add(tx: Transaction, found: Sequence[New], now: float) -> None:
    """Enter sightings; those that were entered before change nothing."""
    if not found:
        return
    sql = "UPDATE sightings_seen SET last = last + :count RETURNING last"
    last: int = tx.execute(sql, {"count": len(found)})[0][0]
    tx.executemany(
        "INSERT INTO sightings (seq, member, detection_id, row_id, time, seen_at, joins)"
        " VALUES (:seq, :member, :detection_id, :row_id, :time, :now, :joins) ON CONFLICT (member) DO NOTHING",
        (
            {
                "seq": seq,
                "member": one.member,
                "detection_id": one.detection_id,
                "row_id": one.row_id,
                "time": one.time,
                "now": now,
                "joins": msgspec.msgpack.encode(one.joins),
            }
            for seq, one in enumerate(found, last - len(found) + 1)
        ),
    )


def newest(tx: Transaction, detection_ids: Iterable[str]) -> dict[str, int]:
    """Number of the newest sighting of each detection that has any."""
    found = {}
    for detection_id in detection_ids:
        rows = tx.execute("SELECT max(seq) FROM sightings WHERE detection_id = :id", {"id": detection_id})
        if rows[0][0] is not None:
            found[detection_id] = rows[0][0]
    return found


def since(
    tx: Transaction, detection_ids: Sequence[str], *, after: int, seen_until: float, limit: int
) -> list[Sighting]:
    """The first sightings of these detections with higher numbers than `after`, up to the first that was seen later
    than `seen_until`: `limit` of them, or as many as `MOST_BYTES` hold, but one at least."""
    where = (
        "seq > :after AND seq < (SELECT coalesce(min(seq), :last) FROM sightings AS later"
        " WHERE later.seq > :after AND later.seen_at > :until)"
    )
    params = {"after": after, "until": seen_until, "last": _LAST, "limit": limit}
    return _select(tx, detection_ids, where, "seq", params)


Spans = Sequence[tuple[float, float]]
"""Event times, first and last. A few, which have none in common."""


def between(tx: Transaction, detection_ids: Sequence[str], spans: Spans, limit: int) -> list[Sighting]:
    """The newest sightings of these detections with event times in the spans, as many as of `since`."""
    where, params = _within(spans)
    return _select(tx, detection_ids, where, "seq DESC", {**params, "limit": limit})


def count(tx: Transaction, detection_ids: Sequence[str], spans: Spans) -> int:
    """How many sightings of these detections have event times in the spans."""
    names = {f"d{number}": detection_id for number, detection_id in enumerate(detection_ids)}
    where, params = _within(spans)
    sql = (
        f"SELECT count(*) FROM sightings WHERE detection_id IN ({_names(names)})"  # noqa: S608 - names of parameters
        f" AND {where}"
    )
    return int(tx.execute(sql, {**names, **params})[0][0])


def _within(spans: Spans) -> tuple[str, dict[str, Any]]:
    conditions = (f"time BETWEEN :start{number} AND :end{number}" for number in range(len(spans)))
    params = {
        f"{name}{number}": span[at] for number, span in enumerate(spans) for at, name in enumerate(("start", "end"))
    }
    return f"({' OR '.join(conditions)})", params


def _select(
    tx: Transaction, detection_ids: Sequence[str], where: str, order: str, params: dict[str, Any]
) -> list[Sighting]:
    names = {f"d{number}": detection_id for number, detection_id in enumerate(detection_ids)}
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM (SELECT {_COLUMNS}, sum(length(joins)) OVER (ORDER BY {order}) AS size,"  # noqa: S608 - constants, and names of parameters
        f" row_number() OVER (ORDER BY {order}) AS number FROM (SELECT {_COLUMNS} FROM sightings"
        f" WHERE detection_id IN ({_names(names)}) AND {where} ORDER BY {order} LIMIT :limit) AS part) AS sized"
        f" WHERE size <= :bytes OR number = 1 ORDER BY {order}",
        {**names, **params, "bytes": MOST_BYTES},
    )
    return [_sighting(row) for row in rows]


def sweep(
    tx: Transaction, *, before: float, in_any_case_before: float, looked_at: Mapping[str, int], limit: int
) -> int:
    """Forget up to `limit` sightings of each detection that were seen before that moment; how many in all. In
    `looked_at` is the number up to which a detection's were looked at: later ones stay, unless they are very old."""
    forgotten = 0
    old = tx.execute("SELECT DISTINCT detection_id FROM sightings WHERE seen_at < :before", {"before": before})
    for (detection_id,) in old:
        rows = tx.execute(
            "DELETE FROM sightings WHERE seq IN (SELECT seq FROM sightings WHERE detection_id = :id"
            " AND seen_at < :before AND (seq <= :looked OR seen_at < :anyway) LIMIT :limit) RETURNING seq",
            {
                "id": detection_id,
                "before": before,
                "anyway": in_any_case_before,
                "looked": looked_at.get(detection_id, _LAST),
                "limit": limit,
            },
        )
        forgotten += len(rows)
    return forgotten


def _sighting(row: Row) -> Sighting:
    seq, detection_id, row_id, time, seen_at, joins = row
    return Sighting(
        seq=seq, detection_id=detection_id, row_id=row_id, time=time, seen_at=seen_at, joins=_decode(joins)
    )


def _names(params: Mapping[str, str]) -> str:
    return ",".join(f":{name}" for name in params)
