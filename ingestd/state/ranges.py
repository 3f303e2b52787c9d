"""Sets of ordinals as sorted, disjoint, half-open ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingestd.model import Range


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The ordinals of all the ranges, in as few ranges as possible. Empty ranges vanish."""
    result: list[Range] = []
    for first, end in sorted(ranges):
        if first >= end:
            continue
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((first, end))
    return tuple(result)


def overlap(one: Sequence[Range], other: Sequence[Range]) -> bool:
    """Whether an ordinal is in both. Neither needs to be sorted; one of them is short as a rule."""
    return any(max(first, first2) < min(end, end2) for first, end in one for first2, end2 in other)


def self_overlap(ranges: Iterable[Range]) -> bool:
    """Whether an ordinal is in two of the ranges."""
    reached = 0
    for first, end in sorted(ranges):
        if first < min(reached, end):
            return True
        reached = max(reached, end)
    return False


def below(ranges: Sequence[Range], end: int) -> tuple[Range, ...]:
    """The ordinals of merged `ranges` that are less than `end`."""
    return tuple((first, min(last, end)) for first, last in ranges if first < end)


def covers(ranges: Sequence[Range], total: int) -> bool:
    """Whether merged `ranges` hold every ordinal of `[0, total)`."""
    return total == 0 or bool(ranges and ranges[0][0] == 0 and ranges[0][1] >= total)
