"""Sets of ordinals, compared with Python's own sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingestd.model import Range
from ingestd.state.ranges import covers, merged, overlap, self_overlap

a_range = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair)))
some_ranges = st.lists(a_range, max_size=6)


def ordinals(ranges: list[Range]) -> list[int]:
    """Every ordinal as often as it is in a range."""
    return [ordinal for first, end in ranges for ordinal in range(first, end)]


@given(some_ranges)
def test_merged_ranges_hold_the_same_ordinals_in_as_few_ranges_as_possible(ranges: list[Range]) -> None:
    """Sorted, disjoint, not even touching, and nothing more or less than before."""
    result = merged(ranges)
    assert set(ordinals(list(result))) == set(ordinals(ranges))
    assert all(end < first for (_, end), (first, _) in pairwise(result))


@given(some_ranges, some_ranges)
def test_overlap_is_a_common_ordinal(one: list[Range], other: list[Range]) -> None:
    """Two sets overlap when an ordinal is in both."""
    assert overlap(one, other) == bool(set(ordinals(one)) & set(ordinals(other)))


@given(some_ranges)
def test_self_overlap_is_an_ordinal_in_two_ranges(ranges: list[Range]) -> None:
    """Ranges overlap among themselves when an ordinal is in two of them."""
    assert self_overlap(ranges) == (len(ordinals(ranges)) > len(set(ordinals(ranges))))


@given(some_ranges, st.integers(0, 30))
def test_covers_means_every_ordinal_below_the_total(ranges: list[Range], total: int) -> None:
    """Merged ranges cover a total when no ordinal below it is missing."""
    assert covers(merged(ranges), total) == (set(range(total)) <= set(ordinals(ranges)))
