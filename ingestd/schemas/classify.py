"""Which log type a record is: deterministic, and the best match, never the first.

A record's *shape* is its ordered top-level keys. Candidates are ordered once per shape, by declared fields
alone: keys that the schema declares, required and allow-listed keys that are there. Whether values, types and
nested keys fit is tried per record, in that order. The first that fits and knows every field is the best; of
those about as good by their keys, the one that leaves the fewest fields unknown. Ties go by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ingestd.schemas.logtype import LogType

Shape = tuple[str, ...]

# Bounds of the cache: 2,048 shapes of at most 4 KB of keys each, some 20 MB whatever keys records bring.
_MOST_SHAPES = 2048
_MOST_KEYS = 100
_LONGEST_KEYS = 4096

_SHARE_ALONE = 0.5
"""Share of a record's keys that a schema without proof must declare, so that a loose one swallows nothing."""
_SHARE_PROVEN = 0.2
"""The same for a schema that has a required or allow-listed key in the record."""


_CLOSE = 0.15
"""Of candidates with as many proofs, those whose points differ by less are told apart by what lies below the top."""


class Ranked(NamedTuple):
    """A candidate and how well the record's keys fit it."""

    points: float
    kind: LogType

    def rivals(self, other: Ranked) -> bool:
        """Whether the two are about as good by the record's keys."""
        return self.kind.proofs == other.kind.proofs and abs(self.points - other.points) < _CLOSE


def score(candidate: LogType, shape: Sequence[str]) -> tuple[float, str]:
    """(how well the keys fit, why they do not). Negative when the record cannot be of the log type."""
    keys = frozenset(key.lower() for key in shape)
    for source, other, name in candidate.required:
        if source not in keys and other not in keys:
            return -1.0, f"{name}: required, but absent"
    if not keys:
        return -1.0, "an empty object could be anything"
    share = len(keys & candidate.known) / len(keys)
    unrolls = candidate.schema.unroll.lower() in keys
    proofs = len(candidate.required) + 2 * (unrolls + sum(source in keys for source in candidate.listed))
    least = _SHARE_PROVEN if proofs else _SHARE_ALONE
    if share < least:
        return -1.0, f"declares {share:.0%} of the record's keys; at least {least:.0%} are needed"
    return share + 0.5 * (1 - 0.5**proofs), ""


class ShapeTable:
    """Candidates in order per shape, remembered for the shapes seen last."""

    def __init__(self, candidates: Sequence[LogType]) -> None:
        self._candidates = sorted(candidates, key=lambda candidate: candidate.name)
        self._shapes: dict[Shape, tuple[Ranked, ...]] = {}

    def order(self, record: Mapping[str, Any]) -> tuple[Ranked, ...]:
        """Those that the record's keys allow, best first."""
        shape = tuple(record)
        found = self._shapes.get(shape)
        if found is None:
            found = self._rank(shape)
            if len(shape) <= _MOST_KEYS and sum(map(len, shape)) <= _LONGEST_KEYS:
                if len(self._shapes) >= _MOST_SHAPES:
                    self._shapes.clear()
                self._shapes[shape] = found
        return found

    def _rank(self, shape: Shape) -> tuple[Ranked, ...]:
        scored = [Ranked(score(candidate, shape)[0], candidate) for candidate in self._candidates]
        scored.sort(key=lambda pair: (-pair.points, pair.kind.name))
        return tuple(ranked for ranked in scored if ranked.points >= 0)

    def refusals(self, record: Mapping[str, Any]) -> list[str]:
        """Why each candidate that `order` leaves out is out, as `name: reason`."""
        shape = tuple(record)
        reasons = ((candidate.name, score(candidate, shape)[1]) for candidate in self._candidates)
        return [f"{name}: {why}" for name, why in reasons if why]


def text_order(candidates: Sequence[LogType]) -> tuple[LogType, ...]:
    """Log types of lines, those that demand most of a line first: required and checked fields, then typed
    ones. A schema that takes any text comes last."""

    def demands(candidate: LogType) -> tuple[int, int, str]:
        fields = candidate.schema.fields
        checked = sum(field.required + (field.value.validate is not None) for field in fields)
        typed = sum(field.value.kind != "string" for field in fields)
        return -checked, -typed, candidate.name

    return tuple(sorted(candidates, key=demands))
