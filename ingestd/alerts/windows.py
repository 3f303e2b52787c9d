"""Matches into windows, windows into alerts: what one transaction of the alert state does.

A window belongs to (detection, kind, dedup string). It opens with its first match, lasts the detection's dedup
period by processing time, and never moves. Its alert id is made when it opens, below the threshold too, so that
every row of the window carries the same id from the first on; it is an alert once its matches (or the distinct
outputs of `unique()`) reach the threshold. Title, severity and everything else shown are those of the first match.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from ingestd.alerts.distinct import Distinct
from ingestd.alerts.routing import Routing
from ingestd.model import Alert, Match, Severity
from ingestd.state import outbox
from ingestd.state import windows as table
from ingestd.state.base import Row, Transaction
from ingestd.state.row_keys import digest, row_key

DEFAULT_MINUTES = 60
SHORTEST_MINUTES = 5
SYSTEM_SEVERITY: Severity = "HIGH"
"""Of ingestd's own alerts: high enough for destinations that take only what is urgent."""
HOUR_SECS = 3_600.0
LIMIT_DEDUP = "alert_limit"
LIMIT_DESCRIPTION = (
    "The suppressed alerts are in the list of alerts and their matches in the lake; the match count of this alert"
    " says how many they are."
)
LIMIT_RUNBOOK = "Narrow the detection, give it a coarser dedup string, or raise alerts.max_per_hour."
UNDELIVERABLE = "no destination of this name is configured; the alert went by default routing"


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that became due in a transaction."""

    alert_id: str
    kind: str
    detection_id: str
    severity: Severity
    title: str
    receivers: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    """Names that the detection gave and nobody has."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a transaction did: the alert id of each match, and what is worth telling."""

    alert_ids: list[str]
    raised: list[Raised]
    suppressed: dict[str, int]
    """Detection id → alerts over its hourly limit."""


def period_secs(dedup_minutes: int) -> float:
    """Length of a window. As in the public format, 0 means the default and less than 5 minutes means 5."""
    minutes = DEFAULT_MINUTES if dedup_minutes <= 0 else max(SHORTEST_MINUTES, dedup_minutes)
    return 60.0 * minutes


class _Window:
    """A window while a transaction works on it."""

    __slots__ = ("alert_id", "alerted_at", "count", "distinct", "first", "key", "latest", "log_types", "suppressed")

    first: Match | None
    """Set when the window opens in this transaction."""
    latest: Match

    def __init__(self, key: bytes, alert_id: str) -> None:
        self.key = key
        self.alert_id = alert_id
        self.first = None
        self.count = 0
        self.distinct: Distinct | None = None
        self.log_types: list[str] = []
        self.alerted_at: float | None = None
        self.suppressed = False

    @classmethod
    def opened_by(cls, match: Match, key: bytes, now: float) -> _Window:
        """A new window. Its id is a function of what opened it: unique, and the same if this runs again."""
        alert_id = digest(match.kind, match.detection_id, match.dedup, match.row_id, repr(now)).hex()
        window = cls(key, alert_id)
        window.first = match
        return window

    @classmethod
    def stored(cls, row: Row) -> _Window:
        """From a row of `table.open_windows`."""
        key, alert_id, count, uniques, log_types, alerted_at, suppressed = row
        window = cls(key, alert_id)
        window.count, window.log_types = count, log_types
        window.alerted_at, window.suppressed = alerted_at, bool(suppressed)
        window.distinct = Distinct(uniques) if uniques is not None else None
        return window

    def join(self, matches: Sequence[Match]) -> None:
        """Add matches that were not counted before."""
        self.latest = matches[-1]
        self.count += len(matches)
        for match in matches:
            if match.log_type not in self.log_types:
                self.log_types.append(match.log_type)
        uniques = [match.unique for match in matches if match.unique is not None]
        if uniques:
            self.distinct = self.distinct or Distinct()
            self.distinct.add_all(uniques)

    def due(self) -> bool:
        """Whether it reaches its threshold now for the first time. The newest match says what the threshold is:
        the detection may have changed since the window opened. Errors have none."""
        if self.alerted_at is not None:
            return False
        reached = self.count if self.distinct is None else len(self.distinct)
        return self.latest.kind == "error" or reached >= self.latest.threshold

    def row(self, now: float) -> dict[str, object]:
        """Parameters of `table.add_windows` and `table.update_windows`."""
        row: dict[str, object] = {
            "alert_id": self.alert_id,
            "updated_at": now,
            "alerted_at": self.alerted_at,
            "suppressed": int(self.suppressed),
            "match_count": self.count,
            "uniques": None if self.distinct is None else self.distinct.to_bytes(),
            "log_types": json.dumps(self.log_types),
        }
        if self.first is not None:
            closes_at = now + period_secs(self.first.dedup_minutes)
            row |= {"window_key": self.key, "opened_at": now, "closes_at": closes_at}
        return row


def record(tx: Transaction, matches: Sequence[Match], *, now: float, routing: Routing, max_per_hour: int) -> Outcome:
    """Enter matches into their windows and what became due into the outbox. A match that was entered before
    (same detection, kind and row) is given the alert id of then and changes nothing."""
    members = [row_key(match.row_id, match.kind, match.detection_id) for match in matches]
    alert_ids = table.known_members(tx, list(dict.fromkeys(members)))
    fresh = {member: match for member, match in zip(members, matches, strict=True) if member not in alert_ids}
    groups: dict[tuple[str, str, str], list[bytes]] = {}
    for member, match in fresh.items():
        groups.setdefault((match.kind, match.detection_id, match.dedup), []).append(member)
    joining = {digest(*group): together for group, together in groups.items()}

    windows = {row[0]: _Window.stored(row) for row in table.open_windows(tx, list(joining), now)}
    entered: dict[bytes, str] = {}
    for key, together in joining.items():
        if key not in windows:
            windows[key] = _Window.opened_by(fresh[together[0]], key, now)
        windows[key].join([fresh[member] for member in together])
        entered.update(dict.fromkeys(together, windows[key].alert_id))
    alert_ids.update(entered)

    outcome = Outcome(alert_ids=[alert_ids[member] for member in members], raised=[], suppressed={})
    due = [window for window in windows.values() if window.due()]
    _limit(tx, due, now, max_per_hour, outcome)
    _store(tx, list(windows.values()), now)
    table.add_members(tx, entered, now)
    _send(tx, [window for window in due if not window.suppressed], now, routing, outcome)
    for detection_id, refused in outcome.suppressed.items():
        title = f"{detection_id} made more than {max_per_hour} alerts in an hour; further ones are suppressed"
        outcome.raised += _tell_of_limit(tx, detection_id, refused, title, now, routing)
    return outcome


def _limit(tx: Transaction, due: Sequence[_Window], now: float, max_per_hour: int, outcome: Outcome) -> None:
    """Mark the windows that are due as alerts, those over the detection's hourly limit as suppressed ones."""
    by_detection: dict[tuple[str, str], list[_Window]] = {}
    for window in due:
        by_detection.setdefault((window.latest.detection_id, window.latest.kind), []).append(window)
    for (detection_id, kind), windows in by_detection.items():
        granted = table.spend(tx, detection_id, kind, int(now // HOUR_SECS), len(windows), max_per_hour)
        for position, window in enumerate(windows):
            window.alerted_at = now
            window.suppressed = position >= granted
        if granted < len(windows):
            refused = len(windows) - granted
            outcome.suppressed[detection_id] = outcome.suppressed.get(detection_id, 0) + refused


def _store(tx: Transaction, windows: Sequence[_Window], now: float) -> None:
    opened = [(window, window.first) for window in windows if window.first is not None]
    table.add_windows(tx, [window.row(now) for window, _ in opened])
    table.add_first_matches(tx, [_first_row(window.alert_id, first) for window, first in opened])
    table.update_windows(tx, [window.row(now) for window in windows if window.first is None])


def _first_row(alert_id: str, match: Match) -> dict[str, object]:
    details = table.Details(
        description=match.description,
        reference=match.reference,
        runbook=match.runbook,
        context=match.context,
        tags=match.tags,
        reports=match.reports,
        version=match.version,
        commit=match.commit,
        author=match.author,
        event_time=match.event_time,
        destinations=match.destinations,
    )
    return {
        "alert_id": alert_id,
        "kind": match.kind,
        "detection_id": match.detection_id,
        "dedup": match.dedup,
        "severity": match.severity,
        "title": match.title,
        "details": details,
    }


def _send(tx: Transaction, due: Sequence[_Window], now: float, routing: Routing, outcome: Outcome) -> None:
    """Put the alerts that are due into the outbox, by what their first match says."""
    raised = []
    for window in due:
        first = window.first or _stored_alert(tx, window.alert_id)
        receivers = routing.receivers(
            first.destinations, kind=first.kind, severity=first.severity, log_types=window.log_types
        )
        raised.append(
            Raised(
                alert_id=window.alert_id,
                kind=first.kind,
                detection_id=first.detection_id,
                severity=first.severity,
                title=first.title,
                receivers=receivers.names,
                unknown=receivers.unknown,
            )
        )
    outbox.enqueue(tx, ((alert.alert_id, name) for alert in raised for name in alert.receivers), now)
    unknown = ((alert.alert_id, name) for alert in raised for name in alert.unknown)
    outbox.add_undeliverable(tx, unknown, UNDELIVERABLE, now)
    outcome.raised += raised


def _stored_alert(tx: Transaction, alert_id: str) -> Alert:
    found = table.window(tx, alert_id)
    if found is None:
        raise AssertionError(f"window {alert_id} has no first match")
    return found.alert


def _tell_of_limit(
    tx: Transaction, detection_id: str, refused: int, title: str, now: float, routing: Routing
) -> list[Raised]:
    """One alert of ingestd's own per detection and hour: that alerts are being suppressed, and how many."""
    hour = int(now // HOUR_SECS)
    key = digest("system", detection_id, LIMIT_DEDUP, str(hour))
    alert_id, closes_at = key.hex(), HOUR_SECS * (hour + 1)
    row = {"alert_id": alert_id, "window_key": key, "now": now, "closes_at": closes_at, "count": refused}
    if not table.touch_system_alert(tx, row):
        return []
    alert = Raised(
        alert_id=alert_id,
        kind="system",
        detection_id=detection_id,
        severity=SYSTEM_SEVERITY,
        title=title,
        receivers=routing.receivers(None, kind="system", severity=SYSTEM_SEVERITY, log_types=()).names,
    )
    details = table.Details(description=LIMIT_DESCRIPTION, runbook=LIMIT_RUNBOOK)
    shown = {"kind": alert.kind, "dedup": LIMIT_DEDUP, "severity": alert.severity, "title": alert.title}
    table.add_first_matches(tx, [{"alert_id": alert_id, "detection_id": detection_id, "details": details, **shown}])
    outbox.enqueue(tx, [(alert_id, name) for name in alert.receivers], now)
    return [alert]
