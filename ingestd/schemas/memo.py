"""A bounded dictionary that works out what it does not hold: the value caches of the hot path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")

_LIMIT = 4096
_LONGEST = 192  # longer texts are worked out each time, so that a cache holds at most about 1 MB


class Memo(dict[str, V], Generic[V]):
    """`memo[text]` is `work(text)`, remembered. When it is full it starts afresh, which costs less than
    keeping an order of use; log values repeat in runs."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[str], V]) -> None:
        super().__init__()
        self._work = work

    def __missing__(self, text: str) -> V:
        value = self._work(text)
        if len(text) <= _LONGEST:
            if len(self) >= _LIMIT:
                self.clear()
            self[text] = value
        return value
