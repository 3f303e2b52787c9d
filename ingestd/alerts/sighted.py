"""Matches that correlation rules wait for, as they enter the state: signals, which make no alert, among them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ingestd.model import Match
from ingestd.state.row_keys import row_key
from ingestd.state.sightings import New


def of(matches: Sequence[Match], now: float) -> list[New]:
    """Those of the matches that some correlation rule waits for. One without a readable time is of `now`."""
    return [
        New(
            member=row_key(match.row_id, match.kind, match.detection_id),
            detection_id=match.detection_id,
            row_id=match.row_id,
            time=_seconds(match.event_time, now),
            joins=match.joins,
        )
        for match in matches
        if match.joins is not None
    ]


def _seconds(text: str, now: float) -> float:
    """`YYYY-MM-DD HH:MM:SS.fffffffff`, in UTC, as seconds since the epoch."""
    try:
        return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return now
