"""How it goes, in one line, for `systemctl status`."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingestd.telemetry import catalogue
from ingestd.telemetry.health import Health, State

_FAILING = {State.RECOVERABLE_ERROR, State.PERMANENT_ERROR, State.FATAL_ERROR}


class Summary:
    """Rates are those since the line before."""

    def __init__(self, health: Health, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._before = (clock(), *_counts())

    def line(self) -> str:
        """For example `812 records/s, 12 messages in flight, 3.2 s behind; failing: source inbox`."""
        now, (records, lag_sum, lag_count) = self._clock(), _counts()
        then, records_before, lag_sum_before, lag_count_before = self._before
        self._before = (now, records, lag_sum, lag_count)
        rate = (records - records_before) / max(now - then, 0.001)
        parts = [f"{rate:.0f} records/s", f"{catalogue.total(catalogue.MESSAGES_IN_FLIGHT):.0f} messages in flight"]
        if lag_count > lag_count_before:
            parts.append(f"{(lag_sum - lag_sum_before) / (lag_count - lag_count_before):.1f} s behind")
        notes = [f"failing: {failing}"] if (failing := ", ".join(self._failing())) else []
        if catalogue.value("ingestd_config_reloads_total", outcome="refused") and not catalogue.value(
            "ingestd_config_last_reload_successful"
        ):
            notes.append("the last reload was refused")
        if self._health.draining:
            parts.insert(0, "draining")
        return "; ".join([", ".join(parts), *notes])

    def _failing(self) -> list[str]:
        return [f"{part.kind} {part.name}".strip() for part in self._health.components() if part.state in _FAILING]


def _counts() -> tuple[float, float, float]:
    """Records, and the sum and the number of the lags of messages."""
    lags = [sample for family in catalogue.QUEUE_LAG.collect() for sample in family.samples]
    lag_sum = sum(sample.value for sample in lags if sample.name.endswith("_sum"))
    lag_count = sum(sample.value for sample in lags if sample.name.endswith("_count"))
    return catalogue.total(catalogue.RECORDS), lag_sum, lag_count
