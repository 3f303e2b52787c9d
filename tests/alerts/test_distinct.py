"""The sketch behind `unique()`: exact while small, close while large, bounded always."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingestd.alerts.distinct import Distinct, K


@given(st.lists(st.text(max_size=5), max_size=200))
def test_small_sets_are_counted_exactly(values: list[str]) -> None:
    """Up to a thousand distinct values the count is that of a set."""
    sketch = Distinct()
    sketch.add_all(values)
    assert len(sketch) == len(set(values))


@given(st.lists(st.integers(0, 3_000), max_size=300), st.lists(st.integers(0, 3_000), max_size=300))
def test_it_survives_the_state(first: list[int], second: list[int]) -> None:
    """Stored and restored between additions it counts as if it had never left memory."""
    whole, stored = Distinct(), Distinct()
    whole.add_all(map(str, first + second))
    stored.add_all(map(str, first))
    stored = Distinct(stored.to_bytes())
    stored.add_all(map(str, second))
    assert len(stored) == len(whole)


def test_the_exact_range_reaches_a_thousand() -> None:
    """A thousand distinct values are still counted exactly."""
    sketch = Distinct()
    sketch.add_all(f"value-{number}" for number in range(1_000))
    assert len(sketch) == 1_000


def test_large_sets_are_estimated_in_bounded_memory() -> None:
    """Beyond, the estimate is within a tenth, repeats change nothing, and 8 KiB are enough."""
    sketch = Distinct()
    for _ in range(2):
        sketch.add_all(f"value-{number}" for number in range(50_000))
    assert 45_000 < len(sketch) < 55_000
    assert len(sketch.to_bytes()) == 8 * K
