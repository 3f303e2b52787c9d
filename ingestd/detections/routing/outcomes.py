"""When evaluating a piece of a rule's code may end how."""

from __future__ import annotations

from typing import NamedTuple

from ingestd.detections.routing.expressions import Expression
from ingestd.detections.routing.formulas import FALSE, TRUE, Asks, Atom, Formula, answer, both, either


class Outcome(NamedTuple):
    """Each is an upper bound: true where it cannot be known."""

    truthy: Formula
    falsy: Formula
    falsy_not_false: Formula
    raises: Formula
    """Raises, or has an effect, or is not understood."""

    def within(self, condition: Formula) -> Outcome:
        """The outcome of doing this only if `condition`."""
        return Outcome(*(both(condition, part) for part in self))

    def merged(self, other: Outcome) -> Outcome:
        """One or the other happens."""
        return Outcome(*(either(mine, theirs) for mine, theirs in zip(self, other, strict=True)))


ANYTHING = Outcome(TRUE, TRUE, TRUE, TRUE)
NOTHING = Outcome(FALSE, FALSE, FALSE, FALSE)
RETURNS_NONE = Outcome(FALSE, TRUE, TRUE, FALSE)


def raising(raises: Formula) -> Outcome:
    """Nothing else is known to happen."""
    return NOTHING._replace(raises=raises)


def of_expression(expression: Expression | None) -> Outcome:
    """The outcome of a pure expression: exact questions if it reads one field, bounds if it reads several."""
    if expression is None:
        return ANYTHING
    if expression.field is not None:
        truthy, falsy, falsy_not_false, raises = (Formula("atom", Atom(expression, asks)) for asks in Asks)
        return Outcome(
            truthy,
            falsy,
            FALSE if expression.is_bool else falsy_not_false,
            FALSE if expression.never_raises else raises,
        )
    if expression.is_constant:
        return answered(answer(expression, None))
    return Outcome(TRUE, TRUE, FALSE if expression.is_bool else TRUE, FALSE if expression.never_raises else TRUE)


def answered(said: int) -> Outcome:
    """The outcome of a question whose answers are known."""
    truthy, falsy, falsy_not_false, raises = (TRUE if asks & said else FALSE for asks in Asks)
    return Outcome(truthy, falsy, falsy_not_false, raises)
