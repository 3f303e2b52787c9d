"""Events that a rule's author did not think of, made from the samples that he did: keys that are missing, nulls,
values of other types, keys in another case, values of other samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

Json = dict[str, Any]

_OTHERS: tuple[Any, ...] = (
    None, "", "x", "X" * 2_000, "*", "true", "1.2.3.4", 0, 1, -1, 2**63, 1.5, float("nan"), True, False,
    [], [None], ["x"], [[]], [{}], {}, {"x": None}, {"x": {"x": []}},
)  # fmt: skip
_MOST_CHANGES = 4
_MOST_VALUES = 20_000
"""In a sample."""


class _Place(NamedTuple):
    """A value within an event, by the container that holds it."""

    holder: Any
    key: Any


def mutate(sample: Json, others: Sequence[Json], random: Random) -> Json:
    """A copy of a sample with one to four changes; `others` are samples to take values from."""
    event: Json = _copied(sample)
    for _ in range(random.randint(1, _MOST_CHANGES)):
        places = _places(event)
        if not places:
            break
        random.choice(_CHANGES)(random.choice(places), random.choice(others), random)
    return event


def is_small(sample: Json) -> bool:
    """Whether a sample can be copied: one that holds itself, or that aliases blow up beyond measure, cannot."""
    count = 0
    pending: list[Any] = [sample]
    while pending:
        here = pending.pop()
        members = list(here.values()) if isinstance(here, dict) else here
        count += len(members)
        if count > _MOST_VALUES:
            return False
        pending.extend(inner for inner in members if isinstance(inner, dict | list))
    return True


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _places(value: Any) -> list[_Place]:
    found: list[_Place] = []
    pending = [value]
    while pending:
        here = pending.pop()
        for key, inner in here.items() if isinstance(here, dict) else enumerate(here):
            found.append(_Place(here, key))
            if isinstance(inner, dict | list):
                pending.append(inner)
    return found


def _remove(place: _Place, other: Json, random: Random) -> None:
    del place.holder[place.key]


def _nullify(place: _Place, other: Json, random: Random) -> None:
    place.holder[place.key] = None


def _retype(place: _Place, other: Json, random: Random) -> None:
    place.holder[place.key] = _copied(random.choice(_OTHERS))


def _recase(place: _Place, other: Json, random: Random) -> None:
    if isinstance(place.key, str):
        value = place.holder.pop(place.key)
        place.holder[random.choice((place.key.upper(), place.key.lower(), place.key.swapcase()))] = value


def _edit(place: _Place, other: Json, random: Random) -> None:
    value = place.holder[place.key]
    if isinstance(value, str):
        edits = (value.upper(), value.lower(), value + "x", "x" + value, value[1:], value[:-1], value[::-1])
        place.holder[place.key] = random.choice(edits)
    elif isinstance(value, list):
        place.holder[place.key] = value * random.randint(0, 2)
    elif isinstance(value, int | float):
        place.holder[place.key] = random.choice((str(value), -value, value + 1, not value))


def _take(place: _Place, other: Json, random: Random) -> None:
    """A value from another sample: of the same key, if it has that."""
    theirs = _places(other)
    same = [there for there in theirs if there.key == place.key]
    if theirs:
        there = random.choice(same or theirs)
        place.holder[place.key] = _copied(there.holder[there.key])


_CHANGES: tuple[Callable[[_Place, Json, Random], None], ...] = (_remove, _nullify, _retype, _recase, _edit, _take)
