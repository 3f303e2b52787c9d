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
    answer = _walk(value, keys, default, return_val)
    return answer if answer is default else thaw(answer)


def _walk(value: Any, keys: Sequence[str], default: Any, return_val: str) -> Any:
    if not keys:
        return default if _is_hollow(value) else value
    if isinstance(value, dict):
        inner = value.get(keys[0])
        return default if inner is None else _walk(inner, keys[1:], default, return_val)
    found: dict[Any, None] = {}
    if _is_sequence(value):
        for element in value:
            answer = _walk(element, keys, default, return_val)
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
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_hollow(value: Any) -> bool:
    """An empty list, or a list of nothing but such lists."""
    return _is_sequence(value) and all(_is_hollow(item) for item in value)
