"""The history of detections: which were enabled, in what version, since when, and whose that version was."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingestd.model import LoadedDetection
from ingestd.state.base import Row, Transaction

TABLES = (
    """CREATE TABLE detection_history (
        detection_id TEXT NOT NULL,
        since DOUBLE PRECISION NOT NULL,
        kind TEXT NOT NULL,
        present INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        version TEXT NOT NULL,
        commit_hash TEXT NOT NULL,
        author TEXT NOT NULL,
        committed_at DOUBLE PRECISION,
        PRIMARY KEY (detection_id, since)
    )""",
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A detection from a time on, until its next entry."""

    id: str
    since: float
    kind: str
    present: bool
    """False once no file says anything of it any more."""
    enabled: bool
    version: str
    commit: str
    author: str
    committed_at: float | None


_COLUMNS = "detection_id, since, kind, present, enabled, version, commit_hash, author, committed_at"
_INSERT = (
    f"INSERT INTO detection_history ({_COLUMNS}) VALUES (:id, :since, :kind, :present, :enabled, :version,"  # noqa: S608 - names of columns
    " :commit, :author, :committed_at) ON CONFLICT (detection_id, since) DO UPDATE SET present = :present,"
    " enabled = :enabled, version = :version, commit_hash = :commit, author = :author, committed_at = :committed_at"
)


def record(tx: Transaction, loaded: Sequence[LoadedDetection], now: float) -> int:
    """Note what differs from what was loaded last; how many detections that are."""
    last = {entry.id: entry for entry in standing(tx, now)}
    entries = [_entry(one, now) for one in loaded if _differs(one, last.get(one.id))]
    gone = last.keys() - {one.id for one in loaded}
    for name in sorted(gone):
        if last[name].present:
            entries.append(msgspec.structs.replace(last[name], since=now, present=False, enabled=False))
    tx.executemany(_INSERT, [msgspec.structs.asdict(entry) for entry in entries])
    return len(entries)


def _differs(one: LoadedDetection, last: Entry | None) -> bool:
    if last is None or not last.present:
        return True
    return (last.enabled, last.version, last.commit) != (one.enabled, one.version, one.commit)


def _entry(one: LoadedDetection, now: float) -> Entry:
    return Entry(
        id=one.id,
        since=now,
        kind=one.kind,
        present=True,
        enabled=one.enabled,
        version=one.version,
        commit=one.commit,
        author=one.author,
        committed_at=one.committed_at,
    )


def standing(tx: Transaction, at: float) -> list[Entry]:
    """The entry of each detection that held at a time, by id."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM detection_history AS h WHERE since ="  # noqa: S608 - names of columns
        " (SELECT max(since) FROM detection_history AS e WHERE e.detection_id = h.detection_id AND e.since <= :at)"
        " ORDER BY detection_id",
        {"at": at},
    )
    return [_from_row(row) for row in rows]


def changes(tx: Transaction, *, detection_id: str | None = None, since: float = 0.0, limit: int = 100) -> list[Entry]:
    """Entries since a time, newest first, of one detection or of all."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM detection_history"  # noqa: S608 - names of columns
        " WHERE since >= :since AND (:id IS NULL OR detection_id = :id)"
        " ORDER BY since DESC, detection_id LIMIT :limit",
        {"since": since, "id": detection_id, "limit": limit},
    )
    return [_from_row(row) for row in rows]


def before(tx: Transaction, entry: Entry) -> Entry | None:
    """What an entry replaced."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM detection_history"  # noqa: S608 - names of columns
        " WHERE detection_id = :id AND since < :since ORDER BY since DESC LIMIT 1",
        {"id": entry.id, "since": entry.since},
    )
    return _from_row(rows[0]) if rows else None


def sweep(tx: Transaction, *, before: float, limit: int) -> int:
    """Forget up to `limit` entries that were replaced before that moment: what held then and since is kept. How
    many."""
    rows = tx.execute(
        "DELETE FROM detection_history WHERE (detection_id, since) IN (SELECT detection_id, since"
        " FROM detection_history AS h WHERE EXISTS (SELECT 1 FROM detection_history AS later"
        " WHERE later.detection_id = h.detection_id AND later.since > h.since AND later.since < :before)"
        " LIMIT :limit) RETURNING detection_id",
        {"before": before, "limit": limit},
    )
    return len(rows)


def _from_row(row: Row) -> Entry:
    name, since, kind, present, enabled, version, commit, author, committed_at = row
    return Entry(
        id=name,
        since=since,
        kind=kind,
        present=bool(present),
        enabled=bool(enabled),
        version=version,
        commit=commit,
        author=author,
        committed_at=committed_at,
    )
