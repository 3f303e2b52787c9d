"""JSON texts in: orjson for nearly all, the stdlib where a record would be lost or a number's spelling."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import orjson

MAX_DEPTH = 100
"""Levels of nesting of one JSON text. orjson writes up to 254; embedded texts add their own levels."""

MOST_CONTAINERS = 100_000
"""Objects and arrays in one JSON text. Each costs a hundred times the two bytes that it takes in the text; large
audit records have some thousands."""
LARGE = 2 * MOST_CONTAINERS
"""Shorter texts cannot have more."""

_CONTAINER = re.compile(rb'[{\[]|"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_INT64_DIGITS = 18
_CANONICAL = re.compile(r"-?\d+\Z", re.ASCII)
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile("[\ud800-\udfff]")


class NeedLiterals(Exception):
    """A text field holds a number whose spelling the decoder did not keep: decode again with `loads_literal`."""


class Literal(float):
    """A number that knows how it was written."""

    text: str


_mode = threading.local()


def literal_mode() -> bool:
    """Whether `keeping_literals` is in force in this thread."""
    return getattr(_mode, "literal", False)


@contextmanager
def keeping_literals() -> Iterator[None]:
    """Within it, embedded JSON too is decoded with the spelling of its numbers."""
    _mode.literal = True
    try:
        yield
    finally:
        _mode.literal = False


def depth(value: object, limit: int) -> int:
    """Levels of nesting, counted up to `limit + 1`, without recursion."""
    level, layer = 0, [value]
    while layer and level <= limit:
        deeper: list[object] = []
        for item in layer:
            if item.__class__ is dict:
                deeper.extend(item.values())
            elif item.__class__ is list:
                deeper.extend(item)
            else:
                continue
        layer = [item for item in deeper if item.__class__ is dict or item.__class__ is list]
        level += 1
    return level


def is_crowded(data: bytes) -> bool:
    """Whether the text has more objects and arrays than are read. Brackets inside strings do not count."""
    if data.count(b"{") + data.count(b"[") <= MOST_CONTAINERS:
        return False
    brackets = (match for match in _CONTAINER.finditer(data) if match[0][:1] != b'"')
    return next(islice(brackets, MOST_CONTAINERS, None), None) is not None


def loads(data: bytes, limit: int = MAX_DEPTH) -> Any:
    """Decode one JSON text nested at most `limit` deep. The last of equal keys counts; integers beyond 64
    bits become floats; half surrogate pairs become U+FFFD. Raises ValueError saying what is wrong."""
    if len(data) > LARGE and is_crowded(data):
        raise ValueError(f"more than {MOST_CONTAINERS} objects and arrays")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        if _HALF_PAIR.search(data) is None:
            raise
        return _loads_surrogates(data, limit)
    if data.count(b"{") + data.count(b"[") > limit and depth(value, limit) > limit:
        raise ValueError(f"nested more than {limit} deep")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _loads_surrogates(data: bytes, limit: int) -> Any:
    """The stdlib takes half surrogate pairs; a log line must not vanish because a client sent one."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError(f"nested more than {limit} deep") from error
    if depth(value, limit) > limit:
        raise ValueError(f"nested more than {limit} deep")
    return _mend(value)


def _mend(value: Any) -> Any:
    """What the stdlib decoded, as orjson would have."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, dict):
        return {_SURROGATES.sub("\ufffd", key): _mend(item) for key, item in value.items()}
    if value.__class__ is int and not -(1 << 63) <= value < (1 << 64):
        return _mend(float(value)) if abs(value) < 10**308 else _mend(math.inf)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _literal(spelled: str) -> Literal:
    made = Literal(spelled)
    made.text = spelled
    return made


def _literal_int(spelled: str) -> int | Literal:
    return int(spelled) if len(spelled) <= _INT64_DIGITS else _literal(spelled)


def loads_literal(data: bytes) -> Any:
    """Decode keeping the spelling of numbers (`Literal`) where Python's own types would lose it."""
    value = json.loads(data, parse_float=_literal, parse_int=_literal_int, parse_constant=_no_constant)
    return _mend(value) if b"\\u" in data else value


def drop_literals(value: Any) -> Any:
    """The same data with plain numbers, for what no text field took."""
    if isinstance(value, Literal):
        if _CANONICAL.match(value.text) and len(value.text) <= 20:
            whole = int(value.text)
            return whole if -(1 << 63) <= whole < (1 << 64) else float(value)
        return float(value)
    if value.__class__ is dict:
        for key, item in value.items():
            if item.__class__ is not str:
                value[key] = drop_literals(item)
    elif value.__class__ is list:
        value[:] = [drop_literals(item) for item in value]
    return value
