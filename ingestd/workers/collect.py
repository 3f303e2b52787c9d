"""The result that a child is putting together: rows, matches, rejects, counts, across objects."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from ingestd.model import ChunkResult, Drift, Match, ObjectTask, RecordCount, ResourceCheck, row_id, row_id_prefix
from ingestd.workers.contracts import Event, Stages
from ingestd.workers.reading import Outcome, Reading
from ingestd.workers.settings import ChildSettings

SUSPENDED = "RuleSuspended"
"""In the place of an exception's class: records that a suspended detection did not see."""


class Collector:
    """Everything since the last result. `builder` and `newest` are open to the inner loop."""

    def __init__(self, stages: Stages, settings: ChildSettings, stage_shares: Callable[[], dict[str, float]]) -> None:
        self._stages = stages
        self._settings = settings
        self._stage_shares = stage_shares
        self._touched: dict[int, Reading] = {}
        self._matches: list[Match] = []
        self._resources: list[ResourceCheck] = []
        self._missed: dict[tuple[int, str], Event] = {}
        """(task, log type or query) → first event that suspended detections did not see."""
        self._cpu = time.process_time()
        self.builder = stages.builder()
        self.newest: dict[str, str] = {}
        """Log type → newest `p_event_time`."""

    @property
    def empty(self) -> bool:
        """Whether a result would say nothing."""
        return not self._touched

    @property
    def full(self) -> bool:
        """Whether the result is as large as one may be."""
        builder, settings = self.builder, self._settings
        return builder.rows >= settings.flush_rows or builder.bytes >= settings.flush_bytes

    def touch(self, reading: Reading) -> None:
        """This object takes part in the result."""
        self._touched[reading.task.task] = reading

    def add_matches(self, matches: list[Match], event: Event) -> None:
        """Matches and errors of the detections on one event."""
        for match in matches:
            self.builder.add_match(len(self._matches), match, event)
            self._matches.append(match)

    def add_resource(self, checked: ResourceCheck) -> None:
        """What the policies say of a resource."""
        self._resources.append(checked)

    def add_missed(self, reading: Reading, event: Event, scope: str) -> None:
        """An event was evaluated while detections are suspended. `scope` is its log type, or its query."""
        self._missed.setdefault((reading.task.task, scope), event)

    def add_reject(
        self,
        task: ObjectTask,
        ordinal: int,
        reason: str,
        detail: str,
        *,
        log_type: str = "",
        payload: bytes = b"",
        offset: int | None = None,
    ) -> None:
        """A record that could not be read."""
        self.builder.add_reject(
            source=task.source,
            origin=task.origin,
            identity=task.identity,
            ordinal=ordinal,
            row_id=row_id(row_id_prefix(task.identity), ordinal),
            reason=reason,
            detail=detail,
            log_type=log_type,
            offset=offset,
            payload=payload[: self._stages.reject_payload_bytes],
            parse_time=_now(),
        )

    def take(self) -> ChunkResult:
        """The result; starts anew."""
        self._report_missed()
        readings = list(self._touched.values())
        cpu, before = time.process_time(), self._cpu
        result = ChunkResult(
            tables=self.builder.take(),
            spans=tuple(span for reading in readings for span in reading.take_spans()),
            matches=tuple(self._matches),
            resources=tuple(self._resources),
            counts=_counts(readings),
            drift=self._drift(),
            rule_timeouts=self._stages.engine.take_timeouts(),
            cpu_seconds=cpu - before,
            stage_seconds={stage: share * (cpu - before) for stage, share in self._stage_shares().items()},
            last_event_time={log_type: _seconds(text) for log_type, text in self.newest.items()},
        )
        self._cpu = cpu
        self._touched.clear()
        self._matches.clear()
        self._resources.clear()
        self.newest.clear()
        return result

    def _drift(self) -> tuple[Drift, ...]:
        """Call it once the tables are taken."""
        misfits, self.builder.misfits = self.builder.misfits, {}
        unfit = (
            Drift(log_type=log_type, kind="unfit_value", path="", records=values)
            for log_type, values in misfits.items()
        )
        return (*self._stages.take_drift(), *unfit)

    def _report_missed(self) -> None:
        """One error for each suspended detection, object and log type, saying which records it did not see."""
        stages = self._stages
        for (number, scope), event in self._missed.items():
            reading = self._touched[number]
            ranges = ", ".join(f"[{span.first}, {span.end})" for span in reading.spans())
            where = f"the {scope} records {ranges} of {reading.task.identity}"
            detail = f"suspended until the next reload: did not see {where}"
            rules = stages.engine.suspended.intersection(stages.rules_of(scope))
            self.add_matches([stages.failed(rule, event, SUSPENDED, detail) for rule in sorted(rules)], event)
        self._missed.clear()


def _counts(readings: Iterable[Reading]) -> tuple[RecordCount, ...]:
    sums: Counter[tuple[str, str, Outcome]] = Counter()
    for reading in readings:
        for (log_type, outcome), records in reading.take_counts().items():
            sums[reading.task.source, log_type, outcome] += records
    return tuple(
        RecordCount(source=source, log_type=log_type, outcome=outcome, records=records)
        for (source, log_type, outcome), records in sums.items()
    )


def _now() -> str:
    nanoseconds = time.time_ns()
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{clock}.{nanoseconds % 1_000_000_000:09d}"


def _seconds(text: str) -> float:
    """`YYYY-MM-DD HH:MM:SS.fffffffff` as seconds since the epoch."""
    return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC).timestamp()
