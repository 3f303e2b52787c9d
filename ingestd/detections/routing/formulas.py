"""Formulas over questions about single fields of an event."""

from __future__ import annotations

from enum import IntFlag
from typing import Any, NamedTuple

from ingestd.detections.routing.expressions import Expression, Undecided


class Asks(IntFlag):
    """What is asked of an atom's expression: that its value is truthy, falsy, falsy but not False; or that it
    raises."""

    TRUTHY = 1
    FALSY = 2
    FALSY_NOT_FALSE = 4
    RAISES = 8


class Atom(NamedTuple):
    """One question about one field."""

    expression: Expression
    asks: Asks


class Formula:
    """A monotone formula: true, false, an atom, or all or any of its parts."""

    __slots__ = ("atom", "kind", "parts")

    def __init__(self, kind: str, atom: Atom | None = None, parts: tuple[Formula, ...] = ()) -> None:
        self.kind = kind
        """`true`, `false`, `atom`, `and` or `or`."""
        self.atom = atom
        self.parts = parts


TRUE = Formula("true")
FALSE = Formula("false")


def both(*parts: Formula) -> Formula:
    """All of them."""
    kept = [part for part in parts if part is not TRUE]
    if any(part is FALSE for part in kept):
        return FALSE
    return TRUE if not kept else kept[0] if len(kept) == 1 else Formula("and", None, tuple(kept))


def either(*parts: Formula) -> Formula:
    """Any of them."""
    kept = [part for part in parts if part is not FALSE]
    if any(part is TRUE for part in kept):
        return TRUE
    return FALSE if not kept else kept[0] if len(kept) == 1 else Formula("or", None, tuple(kept))


UNKNOWN = int(Asks.TRUTHY | Asks.FALSY | Asks.FALSY_NOT_FALSE | Asks.RAISES)
"""The answer when anything may be true."""
_TRUTHY, _FALSE, _FALSY_NOT_FALSE, _RAISES = 1, 2, 6, 8


def answer(expression: Expression, value: Any) -> int:
    """The `Asks` to which the answer is yes for a value of the field."""
    try:
        result = expression.evaluate(value)
        if result:
            return _TRUTHY
    except Undecided:
        return UNKNOWN
    except Exception:  # noqa: BLE001 - then the rule would raise it, so it has to run
        return _RAISES
    return _FALSE if result is False else _FALSY_NOT_FALSE
