"""What runs by the clock: queries whose rows go to scheduled rules, and correlation rules. Plain data, which those
who load detections tell the daemon, who does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from reprlib import repr as brief
from typing import Any

import msgspec
from cronsim import CronSim, CronSimError

from ingestd.detections.correlation.model import MOST_MINUTES, Correlation
from ingestd.detections.loading import yaml12
from ingestd.detections.loading.items import Item
from ingestd.errors import Problem

DEFAULT_TIMEOUT_MINUTES = 5.0
LONGEST_TIMEOUT_MINUTES = 60.0


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When something runs: every so many minutes, or by a cron expression in UTC."""

    rate_minutes: float | None = None
    cron: str | None = None
    timeout_minutes: float = DEFAULT_TIMEOUT_MINUTES

    def first(self, now: float) -> float:
        """When it runs for the first time: what runs at a rate begins at once."""
        return now if self.cron is None else next_time(self.cron, now)

    def latest(self, due: float, now: float) -> float:
        """Of the times from `due` on that have come, the last: what was missed meanwhile is not made up for."""
        if self.cron is None:
            rate = self._rate_secs
            return due + max(0.0, (now - due) // rate) * rate
        return max(due, previous_time(self.cron, now))

    def following(self, tick: float) -> float:
        """The time after one."""
        return tick + self._rate_secs if self.cron is None else next_time(self.cron, tick)

    @property
    def _rate_secs(self) -> float:
        return 60.0 * (self.rate_minutes or 1.0)


class ScheduledQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query that runs by itself."""

    name: str
    sql: str
    schedule: Schedule
    file: str = ""
    line: int | None = None
    """Where the query begins."""
    enabled: bool = True
    rules: tuple[str, ...] = ()
    """Ids of the enabled scheduled rules that get its rows."""


class PublishedTable(msgspec.Struct, frozen=True, kw_only=True):
    """A lookup table whose data is published as an object."""

    name: str
    url: str
    period_minutes: float


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """All that is enabled."""

    queries: tuple[ScheduledQuery, ...] = ()
    correlations: dict[str, tuple[Correlation, ...]] = {}
    """By the id of the correlation rule."""
    tables: tuple[PublishedTable, ...] = ()

    @property
    def sightings_kept_secs(self) -> float:
        """How long some correlation rule may look at a match."""
        kept = [one.kept_minutes for several in self.correlations.values() for one in several]
        return 60.0 * max(kept, default=0.0)


def parse_query(item: Item, report: Callable[[Problem], None], *, enabled: bool) -> ScheduledQuery | None:
    """The query that an item describes; what is wrong is reported."""
    schedule = item.data.get("Schedule")
    key = next((key for key in ("Query", "SnowflakeQuery", "AthenaQuery") if item.data.get(key)), "Query")
    sql = item.data.get(key)
    if not isinstance(sql, str):
        report(item.problem(f"{key} must be text"))
    if not isinstance(schedule, dict):
        report(item.problem("Schedule is missing", hint="give RateMinutes or CronExpression"))
        return None
    parsed = _schedule(item, schedule, report)
    if parsed is None or not isinstance(sql, str):
        return None
    line = yaml12.line_of(item.text, (key,))
    return ScheduledQuery(name=item.id, sql=sql, schedule=parsed, file=str(item.file), line=line, enabled=enabled)


def _schedule(item: Item, given: dict[str, Any], report: Callable[[Problem], None]) -> Schedule | None:
    rate, cron = given.get("RateMinutes"), given.get("CronExpression")
    timeout = given.get("TimeoutMinutes", DEFAULT_TIMEOUT_MINUTES)
    for key, value in (("RateMinutes", rate), ("TimeoutMinutes", timeout)):
        if value is not None and (type(value) not in (int, float) or not 0 < value <= MOST_MINUTES):
            said = f"must be a number of minutes above 0, at most {MOST_MINUTES}, not {brief(value)}"
            report(item.problem(said, "Schedule", key))
            return None
    if (rate is None) == (cron is None):
        report(item.problem("must have either RateMinutes or CronExpression", "Schedule"))
        return None
    if cron is not None:
        try:
            CronSim(str(cron), datetime.now(UTC))
        except CronSimError as error:
            report(item.problem(f"{cron!r} is no cron expression: {error}", "Schedule", "CronExpression"))
            return None
    longest = min(timeout or DEFAULT_TIMEOUT_MINUTES, LONGEST_TIMEOUT_MINUTES)
    return Schedule(rate_minutes=rate, cron=None if cron is None else str(cron), timeout_minutes=longest)


def next_time(cron: str, after: float) -> float:
    """The first time after a moment that an expression names, in seconds since the epoch; infinite if none comes."""
    found = next(CronSim(cron, datetime.fromtimestamp(after, UTC)), None)
    return float("inf") if found is None else found.timestamp()


def previous_time(cron: str, at: float) -> float:
    """The last time not after a moment; minus infinite when there was none."""
    found = next(CronSim(cron, datetime.fromtimestamp(at + 1, UTC), reverse=True), None)
    return float("-inf") if found is None else found.timestamp()
