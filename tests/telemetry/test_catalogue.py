"""The metric catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingestd.telemetry import catalogue, reference
from ingestd.telemetry.catalogue import CATALOGUE, Declared

REPOSITORY = Path(__file__).resolve().parents[2]
UNBOUNDED = {"bucket", "key", "object", "account", "user", "message", "message_id", "alert", "url", "path", "pid"}


@pytest.mark.parametrize("declared", CATALOGUE, ids=lambda declared: declared.name)
def test_names_and_labels_follow_the_rules(declared: Declared) -> None:
    """Base units, `_total` on counters and nothing else, a sentence of help, no label without a bound."""
    assert re.fullmatch(r"ingestd_[a-z0-9_]+", declared.name)
    assert declared.name.endswith("_total") == (declared.kind == "counter")
    assert declared.help.endswith(".")
    assert not declared.labels.keys() & UNBOUNDED
    assert not re.search(r"_(ms|millis|minutes|kb|mb|percent)(_|$)", declared.name)


def test_what_is_served_is_what_is_declared() -> None:
    """Each declared metric is in the exposition under its declared name and type, and nothing else of ours."""
    families = {
        family.name: family for family in text_string_to_metric_families(generate_latest(catalogue.REGISTRY).decode())
    }
    declared = {metric.name.removesuffix("_total"): metric for metric in CATALOGUE}
    assert {name: families[name].type for name in declared} == {
        name: metric.kind for name, metric in declared.items()
    }
    others = {name for name in families if name not in declared}
    assert all(name.startswith(("ingestd_process_", "python_gc_")) for name in others), others


def test_reading_values() -> None:
    """A sample can be read by its labels, a metric summed over some of them; what was never counted is zero."""
    catalogue.MESSAGES.labels(source="a", outcome="acked").inc(2)
    catalogue.MESSAGES.labels(source="b", outcome="acked").inc(3)
    catalogue.MESSAGES.labels(source="b", outcome="lost").inc(5)
    assert catalogue.value("ingestd_messages_total", source="a", outcome="acked") == 2
    assert catalogue.value("ingestd_messages_total", source="z", outcome="acked") == 0
    assert catalogue.total(catalogue.MESSAGES, outcome="acked") == 5
    assert catalogue.total(catalogue.MESSAGES) == 10


def test_series_of_what_left_the_configuration_are_dropped() -> None:
    """After a reload a removed source leaves no series behind, in any metric."""
    catalogue.MESSAGES.labels(source="gone", outcome="acked").inc()
    catalogue.QUEUE_LAG.labels(source="gone").observe(1)
    catalogue.MESSAGES.labels(source="stays", outcome="acked").inc()
    catalogue.forget(source="gone")
    exposition = generate_latest(catalogue.REGISTRY).decode()
    assert 'source="gone"' not in exposition
    assert 'source="stays"' in exposition


def test_the_page_is_current() -> None:
    """docs/metrics.md says what the catalogue says; `scripts/reference` writes it."""
    for name, text in reference.generated().items():
        assert (REPOSITORY / name).read_text() == text, f"{name}: run scripts/reference"


def test_counters_of_what_is_configured_begin_at_zero() -> None:
    """The first dead letter of a source is an increase, not the birth of a series. A gauge states nothing yet."""
    catalogue.expect(source="new")
    exposition = generate_latest(catalogue.REGISTRY).decode()
    assert 'ingestd_messages_total{outcome="dead_lettered",source="new"} 0.0' in exposition
    assert 'ingestd_queue_lag_seconds_count{source="new"} 0.0' in exposition
    assert 'ingestd_queue_depth{source="new"}' not in exposition
    assert 'log_type=""' not in exposition
