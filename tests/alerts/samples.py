"""Matches and alerts to test with, and a clock that stands until it is moved."""

from __future__ import annotations

import hashlib
from typing import Any

from ingestd.model import Alert, Match, row_id

NOW = 1_700_000_000.0


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def match(ordinal: int = 0, **changes: Any) -> Match:
    """A rule's match on the record `ordinal` of one object."""
    fields: dict[str, Any] = {
        "kind": "rule",
        "detection_id": "Root.Login",
        "row_id": row_id("a" * 20, ordinal),
        "log_type": "AWS.CloudTrail",
        "event_time": f"2023-11-14 22:13:{ordinal % 60:02d}.000000000",
        "dedup": "root",
        "title": f"Root login number {ordinal}",
        "severity": "HIGH",
        "context": '{"ip": "198.51.100.7"}',
    }
    return Match(**(fields | changes))


def matches(count: int, first: int = 0, **changes: Any) -> list[Match]:
    """Matches on consecutive records."""
    return [match(first + position, **changes) for position in range(count)]


def alert(number: int = 1, **changes: Any) -> Alert:
    """An alert as a destination gets it."""
    fields: dict[str, Any] = {
        "alert_id": hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest(),
        "kind": "rule",
        "detection_id": "Root.Login",
        "dedup": "root",
        "title": "Root login from 198.51.100.7",
        "severity": "HIGH",
        "description": "Someone used the root account.",
        "reference": "https://example.com/root",
        "runbook": "https://example.com/runbook",
        "context": '{"ip": "198.51.100.7", "user": {"name": "root"}}',
        "log_types": ("AWS.CloudTrail",),
        "tags": ("identity",),
        "reports": {"MITRE ATT&CK": ["TA0001:T1078"]},
        "version": "abc123",
        "created_at": NOW,
        "updated_at": NOW + 1,
        "match_count": 3,
        "first_event_time": "2023-11-14 22:13:20.000000000",
    }
    return Alert(**(fields | changes))
