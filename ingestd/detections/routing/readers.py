"""Fetching one field of an event as rules fetch it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from ingestd.detections.event import PantherEvent
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, ImmutableList
from ingestd.detections.routing.expressions import Field
from ingestd.detections.walk import find

Reader = Callable[[PantherEvent], Any]

_MAX_ELEMENTS = 32
"""Of a list whose elements are looked at one by one."""


class Failed:
    """Stands for the value of a field that could not be had."""


class Several(list[Any]):
    """The values that the elements of a list have."""


def reader(field: Field) -> Reader:
    """How rules fetch the field; `Absent` if it is missing and its place can tell, `Failed` if it cannot be had."""
    keys = field.keys
    match field.how:
        case "udm" | "method":
            return _asking_udm(keys[0])
        case "chain":
            return lambda event: _chained(event, keys)
        case "walk":
            return _walking(field)
        case "within":
            return _within(field)
        case "each":
            return _each(field)
    if len(keys) == 1:
        key = keys[0]
        return lambda event: event._seen[key]
    if len(keys) == 2:
        return _second_level(*keys)
    return _deep(keys)


def _asking_udm(name: str) -> Reader:
    def read(event: PantherEvent) -> Any:
        try:
            return event.udm(name, default=Absent)
        except Exception:  # noqa: BLE001 - a path with several matches, or an author's method: the rule will meet it
            return Failed()

    return read


def _chained(event: PantherEvent, keys: tuple[str, ...]) -> Any:
    """`event.get(a, {}).get(b, {}).get(c)`."""
    found: Any = event
    for key in keys:
        if not isinstance(found, ImmutableCaseInsensitiveDict):
            return Failed()  # what is there has no get()
        found = found._seen[key]
        if found is Absent:
            return Absent
    return found


def _second_level(outer: str, inner: str) -> Reader:
    """`event.deep_get(outer, inner)`, for the usual case."""

    def read(event: PantherEvent) -> Any:
        view = event._seen[outer]
        if type(view) is not ImmutableCaseInsensitiveDict:
            return None
        found = view._container.get(inner)
        if type(found) is str:  # most are, and need no view
            return found
        found = view._seen[inner]
        return None if found is Absent else found

    return read


def _deep(keys: tuple[str, ...]) -> Reader:
    """`event.deep_get(*keys)`, without asking what else might be a mapping."""
    *outer, last = keys

    def read(event: PantherEvent) -> Any:
        view: Any = event
        for key in outer:
            view = view._seen[key]
            if type(view) is not ImmutableCaseInsensitiveDict:
                return None
        found = view._seen[last]
        return None if found is Absent else found

    return read


def _walking(field: Field) -> Reader:
    """`event.deep_walk(*keys, default=…, return_val=…)`, but for the copying."""
    keys = field.keys
    default, return_val = ast.literal_eval(field.given)

    def read(event: PantherEvent) -> Any:
        try:
            return find(event._container, keys, default, return_val)
        except TypeError:  # of a list within a list
            return Failed()

    return read


def _within(field: Field) -> Reader:
    """`mapping.get(key)` of what is in another field."""
    assert field.of is not None
    outer = reader(field.of)
    key = field.keys[0]
    counts_as_empty = tuple(value for name, value in (("None", None), ("Absent", Absent)) if name in field.given)

    def read(event: PantherEvent) -> Any:
        view = outer(event)
        if type(view) is ImmutableCaseInsensitiveDict:
            return view._seen[key]
        return Absent if view in counts_as_empty else Failed()

    return read


def _each(field: Field) -> Reader:
    """What each element of a list in another field has under the keys; the elements themselves without keys."""
    assert field.of is not None
    outer = reader(field.of)
    keys = field.keys

    def read(event: PantherEvent) -> Any:
        found = outer(event)
        kind = type(found)
        if kind is ImmutableList:
            elements: Sequence[Any] = found._viewed()
        elif kind is list:
            elements = found
        else:
            return Failed() if found else Several()
        if len(elements) > _MAX_ELEMENTS:
            return Failed()
        return Several([_member(element, keys) for element in elements] if keys else elements)

    return read


def _member(element: Any, keys: tuple[str, ...]) -> Any:
    found = element
    for number, key in enumerate(keys):
        kind = type(found)
        if kind is ImmutableCaseInsensitiveDict:
            found = found._seen[key]
        elif kind is dict:
            found = found.get(key, Absent)
        else:
            return None if number and found is None else Failed()
        if found is Absent and len(keys) > 1:
            return None  # as deep_get says it
    return found
