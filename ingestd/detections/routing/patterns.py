"""Regular expressions that are asked about short texts, and which of them can take long even so."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from ingestd.detections.routing.expressions import Undecided

METHODS: Final = frozenset({"search", "match", "fullmatch"})
_MAX_TEXT: Final = 256
_MAX_REPEATS: Final = 2
_PIECE: Final = re.compile(
    r"(?P<escape>\\.)|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?:)?)|(?P<close>\))"
    r"|(?P<repeat>[*+]|\{\d*,\d*\}|\{\d+\})|(?P<other>.)",
    re.DOTALL,
)


def is_quick(pattern: re.Pattern[Any]) -> bool:
    """Whether it repeats single characters only, no more than twice in all, and looks nowhere but at the text ahead:
    then the time is at most in proportion to the third power of the text's length."""
    if not isinstance(pattern.pattern, str) or pattern.flags & re.VERBOSE:
        return False
    repeats, before = 0, ""
    for piece in _PIECE.finditer(pattern.pattern):
        kind = str(piece.lastgroup)
        text = piece[0]
        if kind == "repeat":
            repeats += 1
            if before in {"close", ""}:
                return False  # of a group
        elif text == "?" and before == "open":
            return False  # looks ahead or behind, or names a group
        elif kind == "escape" and text[1].isdigit():
            return False  # what a group has matched
        before = kind
    return repeats <= _MAX_REPEATS


class Asking:
    """A pattern's method, for short texts: `Undecided` for others. Raises what the method raises."""

    def __init__(self, pattern: re.Pattern[Any], method: str) -> None:
        self._ask = getattr(pattern, method)
        self.may_take_long = not is_quick(pattern)

    def __call__(self, text: Any) -> Any:
        """What the pattern's method answers."""
        if isinstance(text, str) and len(text) > _MAX_TEXT:
            raise Undecided
        return self._ask(text)


@cache
def asking(pattern: re.Pattern[Any], method: str) -> Asking:
    """The same object for equal patterns, so that equal questions are asked once."""
    return Asking(pattern, method)
