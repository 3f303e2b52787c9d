"""`expect`: what a value should be. One that is not keeps its row, flagged under `p_unexpected` and counted as drift.

Unlike `validate`, which says whether a record is of the log type at all, this is for what vendors promise and
break: a new word in an enumeration must not turn events into rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import re2

from ingestd.schemas import spec
from ingestd.schemas.coerce import shown

Box = dict[str, Any]
Check = Callable[[Box, str, Box], None]
"""`check(box, path, found)`: look at the object `box`, which lies at `path`."""


def _value_check(expect: spec.Expect) -> Callable[[Any], str]:
    """What is wrong with a value, or `""`."""
    allowed = frozenset(expect.values)
    pattern = re2.compile(expect.pattern) if expect.pattern else None
    low, high = expect.minimum, expect.maximum

    def check(value: Any) -> str:
        if allowed and (not isinstance(value, str) or value not in allowed):
            return f"{shown(value)} is not a known value"
        if pattern is not None and (not isinstance(value, str) or pattern.fullmatch(value) is None):
            return f"{shown(value)} is not of the form {expect.pattern}"
        if low is not None or high is not None:
            number = value if isinstance(value, (int, float)) else None
            if number is None or (low is not None and number < low) or (high is not None and number > high):
                return f"{shown(value)} is not between {low} and {high}"
        return ""

    return check


def _field_check(field: spec.Field) -> Check | None:
    expect = field.expect
    if expect is None:
        return None
    wrong = _value_check(expect)
    name = field.name

    def check(box: Box, path: str, found: Box) -> None:
        value = box.get(name)
        if expect.present_when is not None:
            other, values = expect.present_when
            wanted = box.get(other) in values
            if wanted != (value is not None):
                found[path + name] = f"{'absent' if wanted else 'present'}, with {other} {shown(box.get(other))}"
                return
        if value is not None:
            why = wrong(value)
            if why:
                found[path + name] = why

    return check


def _objects(value: Any, path: str) -> Iterator[tuple[str, Box]]:
    if value.__class__ is dict:
        yield path + ".", value
    elif value.__class__ is list:
        for at, item in enumerate(value):
            yield from _objects(item, f"{path}[{at}]")


def _level(fields: tuple[spec.Field, ...]) -> Check | None:
    own = [made for field in fields if (made := _field_check(field)) is not None]
    below: list[tuple[str, Check]] = []
    for field in fields:
        inner = field.value
        while inner.element is not None:
            inner = inner.element
        deeper = _level(inner.fields)
        if deeper is not None:
            below.append((field.name, deeper))
    if not own and not below:
        return None

    def check(box: Box, path: str, found: Box) -> None:
        for one in own:
            one(box, path, found)
        for name, deeper in below:
            for at, inner_box in _objects(box.get(name), path + name):
                deeper(inner_box, at, found)

    return check


def expectations(schema: spec.Schema) -> Callable[[Box], Box] | None:
    """A function from a normalised event to what is unexpected in it (path → why); None without any `expect`."""
    check = _level(schema.fields)
    if check is None:
        return None

    def unexpected(event: Box) -> Box:
        found: Box = {}
        check(event, "", found)
        return found

    return unexpected
