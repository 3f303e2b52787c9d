"""`deep_walk`: all values at the end of a path that may lead through lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingestd.detections.immutable import thaw


def deep_walk(value: Any, keys: Sequence[str], default: Any, return_val: str) -> Any:
    """Values of plain JSON under `keys`, case-sensitive; lists on the way fan out.

    Values found under a list are de-duplicated in order. One distinct value comes as it is, several come as a
    list (`return_val="all"`) or as the `"first"` or `"last"` of them; any other `return_val` gives the string
    `"all"`. Nothing found, or only empty lists, gives `default`. Elements of a list that lack the path
    contribute `default` when that is not None. Containers in the answer are copies.
    """
    answer = find(value, keys, default, return_val)
    return answer if answer is default else thaw(answer)


def find(value: Any, keys: Sequence[str], default: Any, return_val: str) -> Any:
    """What `deep_walk` answers, the event's own containers in it: not for rules."""
    for place, key in enumerate(keys):
        if not isinstance(value, dict):
            return _fan_out(value, keys[place:], default, return_val)
        value = value.get(key)
        if value is None:
            return default
    return default if _is_hollow(value) else value


def _fan_out(value: Any, keys: Sequence[str], default: Any, return_val: str) -> Any:
    found: dict[Any, None] = {}
    if _is_sequence(value):
        for element in value:
            answer = find(element, keys, default, return_val)
            if answer is None:
                continue
            for item in answer if _is_sequence(answer) else (answer,):
                found[item] = None  # a dict or list here is a TypeError, as it always was
    distinct = list(found)
    if not distinct:
        return default
    if return_val == "first":
        return distinct[0]
    if return_val == "last":
        return distinct[-1]
    if return_val == "all":
        return distinct[0] if len(distinct) == 1 else distinct
    return "all"


def _is_sequence(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        return True
    if kind is str or kind is dict or kind is int:  # asking Sequence costs more than all the rest
        return False
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_hollow(value: Any) -> bool:
    """An empty list, or a list of nothing but such lists."""
    return _is_sequence(value) and all(map(_is_hollow, value))
