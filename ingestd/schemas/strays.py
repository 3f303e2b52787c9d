"""Fields that a record has and its schema does not: found again by a walk, only when there are any.

They stay in the event (names spelled as columns), so that rules see them, and their values are gathered under
`p_unknown_fields`, dotted path → value, so that the lake loses nothing. Top-level names that begin with `p_`
are ours: they never stay in the event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ingestd.schemas import coerce, spec
from ingestd.schemas.transliterate import column_name

_MOST_PATHS = 1000
"""Paths whose values are gathered one by one; what is beyond goes together under `…`."""
_MOST_COUNTED = 500
"""Paths counted between two reports; records with others are not counted."""
_LONGEST_PATH = 200
_INDEX = re.compile(r"\[\d+\]")

DriftKind = Literal["unknown_field", "unexpected_value"]


def respell(box: dict[str, Any], names: dict[str, str]) -> None:
    """Give keys that differ from a declared field in capitals only that field's name, where it is free.
    Producers disagree with themselves about capitals, and columns do not know them. `names`: folded → name."""
    for key in [key for key in box if key.lower() in names]:
        name = names[key.lower()]
        if name not in box:
            box[name] = box.pop(key)


class Strays:
    """Called with the event after its declared fields are done."""

    __slots__ = ("_has_fields", "_root", "_unexpected", "_unknown", "met")

    def __init__(self, schema: spec.Schema) -> None:
        self._root = _Level(schema.fields)
        self._has_fields = bool(schema.fields)
        self._unknown: dict[str, int] = {}
        self._unexpected: dict[str, int] = {}
        self.met: list[str] | None = None
        """While it is a list, paths go there instead of being counted: the record may yet be another's."""

    def __call__(self, event: dict[str, Any], keep: bool) -> None:
        """Gather the unknown fields of `event`; without `keep`, drop them."""
        found: dict[str, Any] = {}
        for name in [name for name in event if name[:2].lower() == "p_"]:
            found[name] = event.pop(name)
        self._root.gather(event, "", found)
        if self.met is None:
            self.count(found)
        else:
            self.met.extend(found)
        if not found:
            return
        coerce.check_depth(list(found.values()))
        if keep:
            self._root.spell(event)
            event["p_unknown_fields"] = found
        else:
            self._root.drop(event)

    def count(self, paths: Iterable[str]) -> None:
        """Count the unknown fields of one record. To a schema without fields none is news."""
        if self._has_fields:
            _count(self._unknown, paths)

    def count_unexpected(self, paths: Iterable[str]) -> None:
        """Count the unexpected values of one record."""
        _count(self._unexpected, paths)

    def take(self) -> list[tuple[DriftKind, dict[str, int]]]:
        """Per kind: path (array indexes left out) → records since the last call."""
        taken: list[tuple[DriftKind, dict[str, int]]] = []
        if self._unknown:
            taken.append(("unknown_field", self._unknown))
            self._unknown = {}
        if self._unexpected:
            taken.append(("unexpected_value", self._unexpected))
            self._unexpected = {}
        return taken


def _count(counts: dict[str, int], paths: Iterable[str]) -> None:
    for general in {_INDEX.sub("[]", path[:_LONGEST_PATH]) for path in paths}:
        if general in counts or len(counts) < _MOST_COUNTED:
            counts[general] = counts.get(general, 0) + 1


class _Level:
    __slots__ = ("folded", "known", "nested")

    def __init__(self, fields: tuple[spec.Field, ...]) -> None:
        self.known = frozenset(field.name for field in fields)
        self.folded = frozenset(field.name.lower() for field in fields)
        self.nested = [(field.name, level) for field in fields if (level := _level_below(field.value)) is not None]

    def gather(self, box: dict[str, Any], path: str, found: dict[str, Any]) -> None:
        """Put the unknown values of the object into `found`; those that are null go away."""
        if not self.known.issuperset(box):
            for name in [name for name in box if name not in self.known]:
                if box[name] is None:
                    del box[name]
                else:
                    _put(found, path + name, box[name])
        for name, level in self.nested:
            for at, inner in _objects(box.get(name), path + name):
                level.gather(inner, at + ".", found)

    def spell(self, box: dict[str, Any]) -> None:
        """Give unknown fields their column names; one that would be a known field's other spelling goes."""
        for name in [name for name in box if name not in self.known]:
            plain = column_name(name)
            if plain.lower() in self.folded or (plain != name and plain in box):
                del box[name]
            elif plain != name:
                box[plain] = box.pop(name)
        for name, level in self.nested:
            for _, inner in _objects(box.get(name), ""):
                level.spell(inner)

    def drop(self, box: dict[str, Any]) -> None:
        """Remove unknown fields."""
        for name in [name for name in box if name not in self.known]:
            del box[name]
        for name, level in self.nested:
            for _, inner in _objects(box.get(name), ""):
                level.drop(inner)


def _put(found: dict[str, Any], path: str, value: Any) -> None:
    if len(found) < _MOST_PATHS:
        found[path] = value
    else:
        found.setdefault("…", []).append([path, value])


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a value, through arrays, each with its path."""
    if value.__class__ is dict:
        yield path, value
    elif value.__class__ is list:
        for at, item in enumerate(value):
            yield from _objects(item, f"{path}[{at}]")


def _level_below(value: spec.Value) -> _Level | None:
    """The level of objects inside the value, through any arrays."""
    while value.element is not None:
        value = value.element
    return _Level(value.fields) if value.kind == "object" else None
