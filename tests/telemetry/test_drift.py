"""Drift as the daemon tells it: counted as a metric, on `/status`, in bounded memory."""

from __future__ import annotations

from ingestd.model import ChunkResult, Drift
from ingestd.telemetry import drift, occurrences
from ingestd.telemetry.catalogue import value


def seen(path: str, records: int = 1, kind: str = "unknown_field") -> Drift:
    """Of one log type."""
    return Drift(log_type="A", kind=kind, path=path, records=records)  # type: ignore[arg-type]


def test_paths_are_counted_and_the_most_frequent_shown() -> None:
    """With the times of their first and last record."""
    times = iter((10.0, 20.0, 30.0))
    found = drift.DriftSeen(clock=lambda: next(times))
    assert [found.note(seen("a")), found.note(seen("b", 5)), found.note(seen("a", 9))] == [True, True, False]
    shown = found.as_json()["A"]["unknown_field"]
    assert shown["paths"] == 2
    assert [*shown["most"]] == ["a", "b"]
    assert shown["most"]["a"] == {"records": 10, "first_at": 10.0, "last_at": 30.0}


def test_however_many_paths_there_are_memory_is_bounded() -> None:
    """What comes late is in the metric only."""
    found = drift.DriftSeen()
    new = sum(found.note(seen(f"key{number}")) for number in range(10_000))
    assert new == drift.MOST_PATHS
    assert len(found.as_json()["A"]["unknown_field"]["most"]) == drift.MOST_SHOWN


def test_a_chunk_counts_its_drift() -> None:
    """By log type and kind; paths are no labels, since records bring them."""
    before = value("ingestd_schema_drift_total", log_type="Drifting", kind="unexpected_value")
    what = Drift(log_type="Drifting", kind="unexpected_value", path="x", records=3)
    occurrences.chunk_returned(ChunkResult(spans=(), drift=(what,)))
    assert value("ingestd_schema_drift_total", log_type="Drifting", kind="unexpected_value") == before + 3
    assert drift.SEEN.as_json()["Drifting"]["unexpected_value"]["most"]["x"]["records"] == 3
