"""Formulas over questions about single fields of an event, and what one field alone says about one."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from ingestd.detections.expressions import Expression, Field

Answers = tuple[bool, bool, bool, bool]
"""By `Asks`."""


class Asks(Enum):
    """What is asked of an atom's expression: that its value is truthy, falsy, falsy but not False; or that it
    raises."""

    TRUTHY = 0
    FALSY = 1
    FALSY_NOT_FALSE = 2
    RAISES = 3


ODD = frozenset({Asks.FALSY_NOT_FALSE, Asks.RAISES})
"""What seldom happens: `event.get("a") and …` gives None, `event.get("a") in NAMES` meets a list."""


class Atom(NamedTuple):
    """One question about one field."""

    expression: Expression
    asks: Asks


class Formula:
    """A monotone formula: true, false, an atom, or all or any of its parts."""

    __slots__ = ("atom", "fields", "kind", "odd", "parts")

    def __init__(self, kind: str, atom: Atom | None = None, parts: tuple[Formula, ...] = ()) -> None:
        self.kind = kind
        """`true`, `false`, `atom`, `and` or `or`."""
        self.atom = atom
        self.parts = parts
        self.fields: frozenset[Field] = frozenset()
        """The fields that it asks about."""
        self.odd: frozenset[Field] = frozenset()
        """The fields of which it asks something odd."""
        if atom is not None:
            self.fields = atom.expression.fields
            self.odd = self.fields if atom.asks in ODD else frozenset()
        elif parts:
            self.fields = frozenset().union(*(part.fields for part in parts))
            self.odd = frozenset().union(*(part.odd for part in parts))


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


def answers(expression: Expression, value: Any) -> Answers:
    """The answers to all `Asks` for a value of the field."""
    try:
        result = expression.evaluate(value)
        truthy = bool(result)
    except Exception:  # noqa: BLE001 - then the rule would raise it, so it has to run
        return False, False, False, True
    return truthy, not truthy, not truthy and result is not False, False


def odd_fields(formula: Formula, safe: frozenset[Field]) -> frozenset[Field]:
    """The fields of which something odd can be true, those that only fetch a `safe` field left out."""
    if formula.atom is not None:
        expression, asks = formula.atom
        harmless = formula.odd <= safe and asks is Asks.RAISES and expression.takes_anything
        return frozenset() if harmless else formula.odd
    return frozenset[Field]().union(*(odd_fields(part, safe) for part in formula.parts if part.odd))


def atoms(formula: Formula, field: Field) -> list[Atom]:
    """The questions in the formula about `field`."""
    if field not in formula.fields:
        return []
    if formula.atom is not None:
        return [formula.atom]
    return [atom for part in formula.parts for atom in atoms(part, field)]


class Said(NamedTuple):
    """What one value of one field says about a formula, everything about other fields being taken as true, except
    that nothing odd is true of some of them."""

    calm: bool
    """It can be true if nothing odd is true of any other field."""
    fetched: bool
    """It can be true if nothing odd is true of a watched field, and all other fields could be fetched."""
    watched: bool
    """It can be true if nothing odd is true of a watched field."""
    at_all_fetched: bool
    """It can be true if all other fields could be fetched."""
    at_all: bool
    """It can be true."""
    odd: bool
    """Something odd is true of this value."""


class Projection:
    """A formula seen from one field."""

    def __init__(self, formula: Formula, field: Field, safe: frozenset[Field]) -> None:
        """Fetching one of the `safe` fields never fails."""
        self._formula = formula
        self._safe = safe
        self._field = field
        self._odd = [atom for atom in atoms(formula, field) if atom.asks in ODD]

    def __call__(self, value: Any, watched: frozenset[Field]) -> Said:
        """What `value`, which may be `Absent`, says."""
        known: dict[int, Answers] = {}
        # Every question counts here, though it be in a part of an `or` that is not reached.
        odd = any(self._answer(atom.expression, value, known)[atom.asks.value] for atom in self._odd)
        return Said(
            self._holds(self._formula, value, known, self._formula.odd, fetched=True),
            self._holds(self._formula, value, known, watched, fetched=True),
            self._holds(self._formula, value, known, watched, fetched=False),
            self._holds(self._formula, value, known, frozenset(), fetched=True),
            self._holds(self._formula, value, known, frozenset(), fetched=False),
            odd,
        )

    @staticmethod
    def _answer(expression: Expression, value: Any, known: dict[int, Answers]) -> Answers:
        answer = known.get(id(expression))
        if answer is None:
            answer = known[id(expression)] = answers(expression, value)
        return answer

    def _holds(
        self, part: Formula, value: Any, known: dict[int, Answers], calm: frozenset[Field], *, fetched: bool
    ) -> bool:
        """Whether the part can be true, nothing odd being true of the `calm` fields and, if `fetched`, no other field
        failing to be fetched."""
        if self._field not in part.fields and not (part.odd and (calm or fetched or self._safe)):
            return part is not FALSE
        if part.atom is not None:
            expression, asks = part.atom
            if self._field not in part.fields:
                is_fetched = fetched or part.fields <= self._safe
                cannot_raise = is_fetched and asks is Asks.RAISES and expression.takes_anything
                return asks not in ODD or not (cannot_raise or part.fields <= calm)
            return self._answer(expression, value, known)[asks.value]
        if part.kind == "and":
            return all(self._holds(inner, value, known, calm, fetched=fetched) for inner in part.parts)
        if part.kind == "or":
            return any(self._holds(inner, value, known, calm, fetched=fetched) for inner in part.parts)
        return part is TRUE
