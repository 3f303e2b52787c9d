"""Alert windows: how many matches each has, which match was its first, and which matches were counted.

`alert_windows` is small and changes with every chunk; `alert_first_matches` is written once per window and may
be large; `alert_members` has one row per counted match, so that a match that comes again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ingestd.model import Alert
from ingestd.state.base import Row, Transaction
from ingestd.state.row_keys import DAY_SECS

TABLES = (
    """CREATE TABLE alert_windows (
        alert_id TEXT NOT NULL PRIMARY KEY,
        window_key BLOB NOT NULL,
        opened_at DOUBLE PRECISION NOT NULL,
        closes_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        alerted_at DOUBLE PRECISION,
        suppressed INTEGER NOT NULL DEFAULT 0,
        match_count INTEGER NOT NULL,
        uniques BLOB,
        log_types TEXT NOT NULL
    )""",
    "CREATE INDEX alert_windows_open ON alert_windows (window_key, closes_at)",
    "CREATE INDEX alert_windows_alerted ON alert_windows (alerted_at) WHERE alerted_at IS NOT NULL",
    "CREATE INDEX alert_windows_quiet ON alert_windows (closes_at) WHERE alerted_at IS NULL",
    """CREATE TABLE alert_first_matches (
        alert_id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        detection_id TEXT NOT NULL,
        dedup TEXT NOT NULL,
        severity TEXT NOT NULL,
        title TEXT NOT NULL,
        details TEXT NOT NULL
    )""",
    "CREATE TABLE alert_members (member BLOB NOT NULL PRIMARY KEY, alert_id TEXT NOT NULL, day INTEGER NOT NULL)",
    """CREATE TABLE alert_budgets (
        detection_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        hour INTEGER NOT NULL,
        made INTEGER NOT NULL,
        suppressed INTEGER NOT NULL,
        PRIMARY KEY (detection_id, kind, hour)
    )""",
)

T = TypeVar("T", bytes, str)

_LOOKUP_SIZES = (512, 64, 8, 1)
"""Look-ups by many keys come in these sizes only, so that their statements stay prepared."""


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an alert shows of its first match beyond the columns; JSON in `alert_first_matches.details`."""

    description: str = ""
    reference: str = ""
    runbook: str = ""
    context: str = "{}"
    tags: tuple[str, ...] = ()
    reports: dict[str, list[str]] = {}
    version: str = ""
    commit: str = ""
    author: str = ""
    event_time: str = ""
    destinations: tuple[str, ...] | None = None


_details = msgspec.json.Decoder(Details)


# --- recording matches ------------------------------------------------------------------------------------


def known_members(tx: Transaction, members: Sequence[bytes]) -> dict[bytes, str]:
    """Matches that were counted before → the alert id they were given."""
    found: dict[bytes, str] = {}
    for keys in _batches(members):
        sql = f"SELECT member, alert_id FROM alert_members WHERE member IN ({_names(keys)})"  # noqa: S608 - names of parameters
        found.update((bytes(member), alert_id) for member, alert_id in tx.execute(sql, keys))
    return found


def open_windows(tx: Transaction, window_keys: Sequence[bytes], now: float) -> list[Row]:
    """The open window of each key that has one: (window_key, alert_id, match_count, uniques, log_types as a
    list, alerted_at, suppressed)."""
    rows: list[Row] = []
    for keys in _batches(window_keys):
        sql = (
            "SELECT window_key, alert_id, match_count, uniques, log_types, alerted_at, suppressed FROM alert_windows"  # noqa: S608 - names of parameters
            f" WHERE closes_at > :now AND window_key IN ({_names(keys)})"
        )
        for key, alert_id, count, uniques, log_types, *rest in tx.execute(sql, {**keys, "now": now}):
            rows.append((bytes(key), alert_id, count, uniques, json.loads(log_types), *rest))
    return rows


def add_members(tx: Transaction, members: Mapping[bytes, str], now: float) -> None:
    """Note matches as counted."""
    day = int(now // DAY_SECS)
    tx.executemany(
        "INSERT INTO alert_members (member, alert_id, day) VALUES (:member, :alert_id, :day)",
        ({"member": member, "alert_id": alert_id, "day": day} for member, alert_id in members.items()),
    )


def add_windows(tx: Transaction, windows: Iterable[Mapping[str, Any]]) -> None:
    """Insert windows: the columns of `alert_windows`."""
    tx.executemany(
        "INSERT INTO alert_windows (alert_id, window_key, opened_at, closes_at, updated_at, alerted_at, suppressed,"
        " match_count, uniques, log_types) VALUES (:alert_id, :window_key, :opened_at, :closes_at, :updated_at,"
        " :alerted_at, :suppressed, :match_count, :uniques, :log_types)",
        windows,
    )


def update_windows(tx: Transaction, windows: Iterable[Mapping[str, Any]]) -> None:
    """Write what may change in a window: counts, log types, update time, and when it became an alert."""
    tx.executemany(
        "UPDATE alert_windows SET updated_at = :updated_at, alerted_at = :alerted_at, suppressed = :suppressed,"
        " match_count = :match_count, uniques = :uniques, log_types = :log_types WHERE alert_id = :alert_id",
        windows,
    )


def add_first_matches(tx: Transaction, firsts: Iterable[Mapping[str, Any]]) -> None:
    """Insert first matches: the columns of `alert_first_matches`; `details` is a `Details`."""
    tx.executemany(
        "INSERT INTO alert_first_matches (alert_id, kind, detection_id, dedup, severity, title, details)"
        " VALUES (:alert_id, :kind, :detection_id, :dedup, :severity, :title, :details)"
        " ON CONFLICT (alert_id) DO NOTHING",
        ({**first, "details": msgspec.json.encode(first["details"]).decode()} for first in firsts),
    )


def touch_system_alert(tx: Transaction, window: Mapping[str, Any]) -> bool:
    """Insert an alert of ingestd's own, or add to the count of the one that is there. True when it is new."""
    rows = tx.execute(
        "INSERT INTO alert_windows (alert_id, window_key, opened_at, closes_at, updated_at, alerted_at, match_count,"
        " log_types) VALUES (:alert_id, :window_key, :now, :closes_at, :now, :now, :count, '[]')"
        " ON CONFLICT (alert_id) DO UPDATE SET match_count = alert_windows.match_count + :count, updated_at = :now"
        " RETURNING match_count",
        window,
    )
    return bool(rows[0][0] == window["count"])


def severities(tx: Transaction, alert_ids: Sequence[str]) -> dict[str, str]:
    """Alert id → severity, of windows that there are."""
    found: dict[str, str] = {}
    for names in _batches(alert_ids):
        sql = f"SELECT alert_id, severity FROM alert_first_matches WHERE alert_id IN ({_names(names)})"  # noqa: S608 - names of parameters
        found.update(tx.execute(sql, names))
    return found


# --- the hourly limit -------------------------------------------------------------------------------------


def spend(tx: Transaction, detection_id: str, kind: str, hour: int, wanted: int, limit: int) -> int:
    """Take up to `wanted` alerts out of the detection's budget of the hour; answers how many it may make."""
    names = {"detection_id": detection_id, "kind": kind, "hour": hour}
    rows = tx.execute(
        "SELECT made FROM alert_budgets WHERE detection_id = :detection_id AND kind = :kind AND hour = :hour", names
    )
    granted = max(0, min(wanted, limit - (rows[0][0] if rows else 0)))
    tx.execute(
        "INSERT INTO alert_budgets (detection_id, kind, hour, made, suppressed)"
        " VALUES (:detection_id, :kind, :hour, :granted, :refused) ON CONFLICT (detection_id, kind, hour)"
        " DO UPDATE SET made = alert_budgets.made + :granted, suppressed = alert_budgets.suppressed + :refused",
        {**names, "granted": granted, "refused": wanted - granted},
    )
    return granted


# --- reading alerts ---------------------------------------------------------------------------------------

_ALERT_COLUMNS = (
    "w.alert_id, f.kind, f.detection_id, f.dedup, f.title, f.severity, f.details, w.log_types, w.opened_at,"
    " w.alerted_at, w.updated_at, w.match_count, w.suppressed"
)
_ALERT_TABLES = "alert_windows w JOIN alert_first_matches f ON f.alert_id = w.alert_id"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window as shown to people. Below its threshold it is no alert yet: `alerted_at` is None and
    `alert.created_at` is when it opened."""

    alert: Alert
    opened_at: float
    alerted_at: float | None
    suppressed: bool
    """Over the hourly limit: counted and listed, sent to nobody."""


def window(tx: Transaction, alert_id: str) -> Window | None:
    """One window by its alert id."""
    sql = f"SELECT {_ALERT_COLUMNS} FROM {_ALERT_TABLES} WHERE w.alert_id = :alert_id"  # noqa: S608 - constants
    rows = tx.execute(sql, {"alert_id": alert_id})
    return _window(rows[0]) if rows else None


def newest_alerts(
    tx: Transaction,
    *,
    limit: int,
    since: float = 0.0,
    severities: Sequence[str] = (),
    detection_id: str | None = None,
) -> list[Window]:
    """Alerts, newest first."""
    where = "w.alerted_at >= :since"
    params: dict[str, Any] = {"since": since, "limit": limit}
    if detection_id is not None:
        where += " AND f.detection_id = :detection_id"
        params["detection_id"] = detection_id
    if severities:
        names = {f"s{n}": severity for n, severity in enumerate(severities)}
        where += f" AND f.severity IN ({_names(names)})"
        params.update(names)
    sql = (
        f"SELECT {_ALERT_COLUMNS} FROM {_ALERT_TABLES} WHERE {where}"  # noqa: S608 - values are parameters
        " ORDER BY w.alerted_at DESC, w.alert_id LIMIT :limit"
    )
    return [_window(row) for row in tx.execute(sql, params)]


def _window(row: Row) -> Window:
    (alert_id, kind, detection_id, dedup, title, severity, text, log_types, opened_at, alerted_at, updated_at, count,
     suppressed) = row  # fmt: skip
    details = _details.decode(text)
    alert = Alert(
        alert_id=alert_id,
        kind=kind,
        detection_id=detection_id,
        dedup=dedup,
        title=title,
        severity=severity,
        description=details.description,
        reference=details.reference,
        runbook=details.runbook,
        context=details.context,
        log_types=tuple(json.loads(log_types)),
        tags=details.tags,
        reports=details.reports,
        version=details.version,
        commit=details.commit,
        author=details.author,
        created_at=opened_at if alerted_at is None else alerted_at,
        updated_at=updated_at,
        match_count=count,
        first_event_time=details.event_time,
        destinations=details.destinations,
    )
    return Window(alert=alert, opened_at=opened_at, alerted_at=alerted_at, suppressed=bool(suppressed))


# --- retention --------------------------------------------------------------------------------------------


def members_after(tx: Transaction, *, after: bytes, limit: int) -> tuple[bytes, int]:
    """The last key and the oldest day of the `limit` counted matches that follow the key `after`; the key is empty
    when there are none."""
    sql = (
        "SELECT max(member), min(day) FROM"
        " (SELECT member, day FROM alert_members WHERE member > :after ORDER BY member LIMIT :limit) AS part"
    )
    last, day = tx.execute(sql, {"after": after, "limit": limit})[0]
    return bytes(last or b""), day or 0


def forget_members(tx: Transaction, *, after: bytes, last: bytes, before_day: int) -> None:
    """Forget matches with keys in (after, last] that were counted before that day."""
    tx.execute(
        "DELETE FROM alert_members WHERE member > :after AND member <= :last AND day < :day",
        {"after": after, "last": last, "day": before_day},
    )


def sweep_windows(tx: Transaction, *, quiet_before: float, alerts_before: float, limit: int) -> int:
    """Delete up to `limit` windows: those that closed before `quiet_before` without an alert, and alerts last
    touched before `alerts_before` that nobody waits for. Answers how many."""
    rows = tx.execute(
        "SELECT alert_id FROM alert_windows WHERE alerted_at IS NULL AND closes_at < :quiet LIMIT :limit",
        {"quiet": quiet_before, "limit": limit},
    )
    rows += tx.execute(
        "SELECT w.alert_id FROM alert_windows w WHERE w.alerted_at < :old AND w.updated_at < :old AND NOT EXISTS"
        " (SELECT 1 FROM alert_outbox o WHERE o.alert_id = w.alert_id AND o.status = 'pending') LIMIT :limit",
        {"old": alerts_before, "limit": max(0, limit - len(rows))},
    )
    for table in ("alert_windows", "alert_first_matches", "alert_outbox"):
        sql = f"DELETE FROM {table} WHERE alert_id = :alert_id"  # noqa: S608 - names of our tables
        tx.executemany(sql, ({"alert_id": alert_id} for (alert_id,) in rows))
    tx.execute("DELETE FROM alert_budgets WHERE hour < :hour", {"hour": int(quiet_before // 3600)})
    return len(rows)


# --- helpers ----------------------------------------------------------------------------------------------


def _batches(values: Sequence[T]) -> Iterator[dict[str, T]]:
    """The values as parameters `k0…`, in few sizes; a batch is filled up by repeating its last value."""
    done = 0
    while done < len(values):
        left = len(values) - done
        size = next((size for size in reversed(_LOOKUP_SIZES) if left <= size), _LOOKUP_SIZES[0])
        part = values[done : done + size]
        done += len(part)
        yield {f"k{n}": part[min(n, len(part) - 1)] for n in range(size)}


def _names(params: Mapping[str, Any]) -> str:
    return ",".join(f":{name}" for name in params)
