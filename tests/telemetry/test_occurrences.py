"""Each occurrence logs and counts, in words of the closed sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

from ingestd.errors import ConfigError, Overloaded, Permanent, Problem, Retryable, Superseded
from ingestd.model import ChunkResult, Delivery, Match, ObjectDone, RecordCount
from ingestd.telemetry import catalogue, occurrences
from ingestd.telemetry.catalogue import value

OCCURRENCES = {
    name: function
    for name, function in vars(occurrences).items()
    if isinstance(function, FunctionType) and function.__module__ == occurrences.__name__ and name[0] != "_"
}

DONE = ObjectDone(task=1, records=3, plain_bytes=100, framing="lines")
MATCH = Match(
    kind="rule",
    detection_id="R",
    row_id="1",
    log_type="A",
    event_time="2024-01-01 00:00:00",
    dedup="d",
    title="t",
    severity="LOW",
)

VALUES: dict[str, Any] = {
    "BaseException": Retryable("busy"),
    "BaseException | str": "text",
    "Iterable[Delivery]": [],
    "ObjectDone": DONE,
    "ChunkResult": ChunkResult(spans=()),
    "Iterable[Problem | str]": [Problem("bad")],
    "Mapping[str, str | int | float]": {"detections": 3},
    "Severity": "LOW",
    "Stage": "read",
    "RestartReason": "died",
    "ScheduledWork": "query",
    "Permanent | None": None,
    "bool": True,
    "str": "ok",
    "str | None": None,
    "int": 1,
    "float": 1.0,
    "Any": 1,
}
CLOSED = {"kind": "rule", "table": "events", "state": "ok"}


def arguments_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Some valid arguments of an occurrence, by the types of its parameters."""
    return {
        name: CLOSED.get(name, VALUES[str(parameter.annotation)])
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


@pytest.mark.parametrize("name", sorted(OCCURRENCES.keys() - {"error_type"}))
def test_every_occurrence_works_and_leaves_a_trace(name: str) -> None:
    """Whatever happens, telling it does not fail, is seen, and names stage and kind of error from closed sets."""
    before = len(list(catalogue.REGISTRY.collect()))
    with capture_logs() as lines:
        OCCURRENCES[name](**arguments_of(OCCURRENCES[name]))
    assert len(list(catalogue.REGISTRY.collect())) == before
    for line in lines:
        assert line["log_level"] in {"debug", "info", "warning", "error"}
        assert line.get("stage", "read") in get_args(catalogue.Stage)
        assert line.get("error_type", "internal") in get_args(catalogue.ErrorType)
        if line["log_level"] == "error" and name != "component_state":
            assert "error_type" in line, "an error says what follows from it"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Retryable("x"), "retryable"),
        (Overloaded("x"), "overloaded"),
        (Permanent("x"), "permanent"),
        (Superseded("x"), "superseded"),
        (ConfigError([]), "config"),
        (TimeoutError(), "timeout"),
        (KeyError("x"), "internal"),
        (SystemExit(), "internal"),
    ],
)
def test_error_types(error: BaseException, word: str) -> None:
    """An error is told by what the caller does next."""
    assert occurrences.error_type(error) == word


def test_an_error_is_logged_and_counted_at_once() -> None:
    """Log line and counter carry the same stage and error type."""
    with capture_logs() as lines:
        occurrences.object_failed("a", "file:///x", "open", Permanent("gone", reason="not_found"), attempts=2)
    assert lines == [
        {
            "event": "object failed",
            "log_level": "warning",
            "source": "a",
            "object": "file:///x",
            "attempts": 2,
            "stage": "open",
            "error_type": "permanent",
            "error": "Permanent: gone",
        }
    ]
    assert value("ingestd_errors_total", stage="open", error_type="permanent") == 1
    assert value("ingestd_objects_total", source="a", outcome="failed") == 1


def test_messages_in_flight() -> None:
    """What was received is in flight until it is acknowledged, returned, lost or dead-lettered."""
    occurrences.messages_received("a", [Delivery(source="a", message_id=str(n), body=b"") for n in range(10)])
    occurrences.messages_acked("a", 4)
    occurrences.messages_returned("a", 3, "drain")
    occurrences.messages_lost("a", 1)
    occurrences.message_dead_lettered("a", "9", "poison", "why")
    assert value("ingestd_messages_in_flight", source="a") == 1
    assert value("ingestd_messages_total", source="a", outcome="received") == 10


def test_a_source_that_comes_back_is_counted_anew() -> None:
    """Series that were dropped with a source are not moved any more: a source of that name gets its own."""
    occurrences.object_committed("a", "file:///1", 1)
    catalogue.forget(source="a")
    occurrences.object_committed("a", "file:///2", 1)
    assert catalogue.value("ingestd_objects_total", source="a", outcome="committed") == 1


def test_lag_counts_first_deliveries_only() -> None:
    """A redelivery says nothing about how long the queue makes one wait."""
    first = Delivery(source="a", message_id="1", body=b"", sent_at=0.0, receive_count=1)
    again = Delivery(source="a", message_id="2", body=b"", sent_at=0.0, receive_count=2)
    unknown = Delivery(source="a", message_id="3", body=b"")
    occurrences.messages_received("a", [first, again, unknown])
    assert value("ingestd_queue_lag_seconds_count", source="a") == 1


def test_what_children_counted() -> None:
    """A returned chunk moves the counters of records, detections and workers."""
    result = ChunkResult(
        spans=(),
        counts=(
            RecordCount(source="a", log_type="A", outcome="ok", records=90),
            RecordCount(source="a", log_type="", outcome="unclassified", records=7),
            RecordCount(source="a", log_type="A", outcome="filtered", records=3),
        ),
        matches=(MATCH, MATCH, Match(**{**{f: getattr(MATCH, f) for f in MATCH.__struct_fields__}, "kind": "error"})),
        rule_timeouts={"R": 2},
        cpu_seconds=1.5,
        stage_seconds={"decode": 0.5},
        last_event_time={"A": 1000.0},
    )
    occurrences.chunk_returned(result)
    assert value("ingestd_records_total", source="a", log_type="A", outcome="ok") == 90
    assert value("ingestd_discarded_records_total", reason="unclassified", intentional="false") == 7
    assert value("ingestd_discarded_records_total", reason="filtered", intentional="true") == 3
    assert value("ingestd_detection_matches_total", rule="R") == 2
    assert value("ingestd_detection_errors_total", rule="R") == 1
    assert value("ingestd_detection_timeouts_total", rule="R") == 2
    assert value("ingestd_worker_busy_seconds_total") == 1.5
    assert value("ingestd_worker_stage_seconds_total", stage="decode") == 0.5
    assert value("ingestd_last_event_timestamp_seconds", log_type="A") == 1000


def test_long_errors_are_cut() -> None:
    """An exception with an endless text makes one bounded line."""
    with capture_logs() as lines:
        occurrences.receive_failed("a", Retryable("x" * 1_000_000), in_secs=1)
    assert len(lines[0]["error"]) < 1_000


def test_a_refused_reload_shows_in_the_gauge() -> None:
    """The last load is unsuccessful until one is applied again; each problem is a line."""
    with capture_logs() as lines:
        occurrences.reload_refused([Problem("a"), Problem("b")])
    assert len(lines) == 2
    assert value("ingestd_config_last_reload_successful") == 0
    occurrences.reload_applied()
    assert value("ingestd_config_last_reload_successful") == 1
