"""The line for `systemctl status`."""

from __future__ import annotations

from ingestd.telemetry import catalogue
from ingestd.telemetry.health import Health
from ingestd.telemetry.summary import Summary


def test_rates_are_since_the_line_before() -> None:
    """Records per second, messages in flight, and how far behind those were that arrived meanwhile."""
    now = 100.0
    summary = Summary(Health(), clock=lambda: now)
    catalogue.RECORDS.labels(source="a", log_type="T", outcome="ok").inc(500)
    catalogue.MESSAGES_IN_FLIGHT.labels(source="a").set(12)
    catalogue.QUEUE_LAG.labels(source="a").observe(2)
    catalogue.QUEUE_LAG.labels(source="a").observe(4)
    now += 10
    assert summary.line() == "50 records/s, 12 messages in flight, 3.0 s behind"
    now += 10
    assert summary.line() == "0 records/s, 12 messages in flight"


def test_what_is_wrong_is_named() -> None:
    """Components that fail, a refused reload and the drain stand in the line."""
    health = Health()
    health.component("source", "inbox").failing("no such folder")
    health.component("lake").ok()
    health.draining = True
    catalogue.RELOADS.labels(outcome="refused").inc()
    catalogue.RELOAD_OK.set(0)
    line = Summary(health, clock=lambda: 0.0).line()
    assert line == ("draining, 0 records/s, 0 messages in flight; failing: source inbox; the last reload was refused")
