"""A lake, a ledger and chunks as children return them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingestd import failpoints
from ingestd.lake.batch import BatchBuilder
from ingestd.lake.files import LocalFiles
from ingestd.lake.query import query
from ingestd.lake.writer import Writer, WriterSettings
from ingestd.ledger import Ledger
from ingestd.model import ChunkResult, Column, Match, ObjectDone, Span, row_id, row_id_prefix
from ingestd.state import instances
from ingestd.state.sqlite import SqliteState
from ingestd.telemetry.health import Component
from tests.ledgers import crash

NOW = "2026-07-02 12:00:00.000000000"
LOG_TYPE = "AWS.CloudTrail"
COLUMNS = (
    Column(name="eventID", kind="string"),
    Column(name="p_log_type", kind="string"),
    Column(name="p_row_id", kind="string"),
    Column(name="p_event_time", kind="timestamp"),
    Column(name="p_parse_time", kind="timestamp"),
)


def event(identity: str, ordinal: int, day: str = "2026-07-01") -> dict[str, Any]:
    """An event whose id says where it came from."""
    return {
        "eventID": f"{identity}/{ordinal}",
        "p_log_type": LOG_TYPE,
        "p_row_id": row_id(row_id_prefix(identity), ordinal),
        "p_event_time": f"{day} 10:00:00.000000000",
        "p_parse_time": NOW,
    }


def chunk(*spans: tuple[str, int, int], matching: bool = False) -> ChunkResult:
    """The result for the ordinals `[first, end)` of some identities; with `matching`, a rule matches each event."""
    builder = BatchBuilder(lambda _: COLUMNS)
    matches: list[Match] = []
    for identity, first, end in spans:
        for ordinal in range(first, end):
            row = event(identity, ordinal)
            builder.add_event(row)
            if matching:
                matches.append(match_of(row))
                builder.add_match(len(matches) - 1, matches[-1], row)
    return ChunkResult(
        spans=tuple(Span(task=1, identity=identity, first=first, end=end) for identity, first, end in spans),
        tables=builder.take(),
        matches=tuple(matches),
    )


def match_of(row: dict[str, Any], **changes: Any) -> Match:
    """A match on an event."""
    fields: dict[str, Any] = {
        "kind": "rule",
        "detection_id": "Some.Rule",
        "row_id": row["p_row_id"],
        "log_type": row["p_log_type"],
        "event_time": row["p_event_time"],
        "dedup": "d",
        "title": "t",
        "severity": "HIGH",
    }
    return Match(**(fields | changes))


def done(records: int) -> ObjectDone:
    """The end of an object."""
    return ObjectDone(task=1, records=records, plain_bytes=records * 10, framing="lines")


class Crashed(BaseException):
    """Stands for the power cut at a failpoint."""


class House:
    """One lake and one state, and daemons that come and go."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        self._folder = folder
        self._ledgers: list[Ledger] = []
        self._states: list[SqliteState] = []
        self._writers: list[Writer] = []
        self.health = Component("lake", "", time.time)
        self.files: Callable[[], LocalFiles] = lambda: LocalFiles(self.lake)

    async def daemon(self, **settings: Any) -> tuple[Ledger, Writer]:
        """A daemon that has recovered."""
        state = SqliteState.open(self._folder / "state.db")
        ledger = await Ledger.open(state, self._folder / "instances")
        writer = Writer(WriterSettings(**{"rotate_secs": 3600.0, **settings}), self.files(), ledger, self.health)
        self._states.append(state)
        self._ledgers.append(ledger)
        self._writers.append(writer)
        await writer.recover()
        return ledger, writer

    async def crash(self) -> None:
        """The newest daemon dies as by a power cut: it tells nobody, but its lock is free."""
        writer, ledger, state = self._writers.pop(), self._ledgers.pop(), self._states.pop()
        await writer.abandon()
        crash(ledger)
        await state.close()

    async def lose_claims(self, ledger: Ledger) -> None:
        """The newest daemon slept so long that it was taken for dead; now it wakes up."""
        epoch = ledger.epoch
        await self._states[-1].transact(lambda tx: instances.remove(tx, epoch))
        await ledger.renew()

    async def close(self) -> None:
        """End what is still there."""
        while self._ledgers:
            await self.crash()

    def ids(self, table: str = f'"{LOG_TYPE}"', column: str = "eventID") -> list[str]:
        """What the lake holds."""
        try:
            return sorted(row[0] for row in query(f"select {column} from {table}", self.lake).rows)
        except Exception as error:
            if "does not exist" in str(error):
                return []
            raise

    def staged(self) -> list[Path]:
        """What lies in staging."""
        return sorted((self.lake / "_staging").glob("*/*"))


async def claim(ledger: Ledger, *identities: str) -> None:
    """Claim objects that nobody else reads."""
    for identity in identities:
        answer = await ledger.claim(identity, source="s", url=identity)
        assert answer.status == "granted"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A place for daemons; all of them are ended after the test."""
    house = House(tmp_path)
    yield house
    await house.close()


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm a failpoint: the next passage raises `Crashed` instead of killing the process."""

    def arm(name: str) -> None:
        assert name in failpoints.NAMES
        armed = [name]

        def hit(passed: str) -> None:
            if passed in armed:
                armed.clear()
                raise Crashed(passed)

        monkeypatch.setattr(failpoints, "hit", hit)

    return arm
