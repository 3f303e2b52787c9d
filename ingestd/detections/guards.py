"""What an event must look like for a rule to do anything but return False: read from the rule's source.

`analyse` walks the statements of `rule` as they would run, and gives a `Formula` over *atoms*: small pure
expressions of one field of the event, such as `event.get("eventName") in NAMES`. If the formula is false for an
event, the rule returns exactly False for it, raises nothing and changes nothing. Where the walk meets anything
that it does not know, the formula is true from there on, so knowing less means running more. Calls of helper
functions are followed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from ingestd.detections.expressions import Expression, Field, Rewriter, Unknown, Variable
from ingestd.detections.sources import Source, Sources, is_builtin

_MAX_STEPS = 2_000
_MAX_CALLS = 8


class Asks(Enum):
    """What is asked of an atom's expression: that its value is truthy, falsy, falsy but not False; or that it
    raises."""

    TRUTHY = 0
    FALSY = 1
    FALSY_NOT_FALSE = 2
    RAISES = 3


class Atom(NamedTuple):
    """One question about one field."""

    expression: Expression
    asks: Asks


class Formula(NamedTuple):
    """`kind` is "true", "false", "atom", "and" or "or"."""

    kind: str
    atom: Atom | None = None
    parts: tuple[Formula, ...] = ()


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


class Outcome(NamedTuple):
    """When evaluating something may end how. Each is an upper bound: true where it cannot be known."""

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
_NOTHING = Outcome(FALSE, FALSE, FALSE, FALSE)
_RETURNS_NONE = Outcome(FALSE, TRUE, TRUE, FALSE)
Bindings = Mapping[str, Variable]
Answers = tuple[bool, bool, bool, bool]


def analyse(sources: Sources, source: Source, function: str = "rule") -> Formula:
    """When the function of this module may do anything but return False. TRUE when that cannot be said."""
    definition = source.function(function)
    if definition is None or len(definition.args.args) != 1 or _has_odd_parameters(definition):
        return TRUE
    walk = _Walk(sources)
    try:
        outcome = walk.body(source, definition.body, {definition.args.args[0].arg: Variable.EVENT})
    except _TooLong:
        return TRUE
    return either(outcome.truthy, outcome.falsy_not_false, outcome.raises)


def _has_odd_parameters(definition: ast.FunctionDef) -> bool:
    arguments = definition.args
    return bool(arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs)


class _TooLong(Exception):
    pass


class _Walk:
    """One analysis: bounded in steps, because each branch doubles the paths."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.steps = 0
        self.depth = 0

    # --- statements

    def body(self, source: Source, statements: list[ast.stmt], bindings: Bindings) -> Outcome:
        """The outcome of running the statements to the function's return."""
        if not statements:
            return _RETURNS_NONE
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise _TooLong
        first, rest = statements[0], statements[1:]
        match first:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return self.body(source, rest, bindings)
            case ast.Return(value=None):
                return _RETURNS_NONE
            case ast.Return(value=ast.expr() as value):
                return self.expression(source, value, bindings)
            case ast.If():
                test = self.expression(source, first.test, bindings)
                taken = self.body(source, first.body + rest, bindings).within(test.truthy)
                passed = self.body(source, first.orelse + rest, bindings).within(test.falsy)
                return _raising(test.raises).merged(taken).merged(passed)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                return self._assign(source, name, value, rest, bindings)
        return ANYTHING

    def _assign(
        self, source: Source, name: str, value: ast.expr, rest: list[ast.stmt], bindings: Bindings
    ) -> Outcome:
        try:
            expression = Rewriter(self.sources, source, bindings).rewrite(value)
        except Unknown:
            return ANYTHING
        evaluated = _outcome(expression)
        outcome = self.body(source, rest, {**bindings, name: Variable(expression)})
        return _raising(evaluated.raises).merged(outcome)

    # --- expressions

    def expression(self, source: Source, node: ast.expr, bindings: Bindings) -> Outcome:
        """The outcome of evaluating an expression."""
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise _TooLong
        match node:
            case ast.BoolOp(op=ast.And(), values=[first, *rest]) if rest:
                left = self.expression(source, first, bindings)
                right = self.expression(source, _again(node, rest), bindings).within(left.truthy)
                return Outcome(
                    right.truthy,
                    either(left.falsy, right.falsy),
                    either(left.falsy_not_false, right.falsy_not_false),
                    either(left.raises, right.raises),
                )
            case ast.BoolOp(op=ast.Or(), values=[first, *rest]) if rest:
                left = self.expression(source, first, bindings)
                right = self.expression(source, _again(node, rest), bindings).within(left.falsy)
                return Outcome(
                    either(left.truthy, right.truthy),
                    right.falsy,
                    right.falsy_not_false,
                    either(left.raises, right.raises),
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.expression(source, operand, bindings)
                return Outcome(inner.falsy, inner.truthy, FALSE, inner.raises)
            case ast.IfExp():
                test = self.expression(source, node.test, bindings)
                taken = self.expression(source, node.body, bindings).within(test.truthy)
                passed = self.expression(source, node.orelse, bindings).within(test.falsy)
                return _raising(test.raises).merged(taken).merged(passed)
            case ast.Call(
                func=ast.Name(id="all" | "any" as name), args=[ast.List(elts=elements) | ast.Tuple(elts=elements)]
            ) if self._is_builtin(source, name, bindings) and not node.keywords:
                return self._quantified(source, name, elements, bindings)
            case ast.Call(func=ast.Name(id="bool"), args=[argument], keywords=[]) if self._is_builtin(
                source, "bool", bindings
            ):
                inner = self.expression(source, argument, bindings)
                return inner._replace(falsy_not_false=FALSE)
            case ast.Call(func=ast.Name(id=name)) if name not in bindings:
                called = self.sources.function(source, name)
                if called is not None:
                    return self._call(source, node, *called, bindings)
        try:
            return _outcome(Rewriter(self.sources, source, bindings).rewrite(node))
        except Unknown:
            return ANYTHING

    @staticmethod
    def _is_builtin(source: Source, name: str, bindings: Bindings) -> bool:
        return name not in bindings and is_builtin(source, name)

    def _quantified(self, source: Source, name: str, elements: list[ast.expr], bindings: Bindings) -> Outcome:
        """`all([…])` or `any([…])` of a list that is written out: each element is evaluated."""
        outcomes = [self.expression(source, element, bindings) for element in elements]
        truthy, falsy = [outcome.truthy for outcome in outcomes], [outcome.falsy for outcome in outcomes]
        raises = either(*(outcome.raises for outcome in outcomes))
        if name == "all":
            return Outcome(both(*truthy), either(*falsy), FALSE, raises)
        return Outcome(either(*truthy), both(*falsy), FALSE, raises)

    def _call(
        self, source: Source, call: ast.Call, home: Source, definition: ast.FunctionDef, bindings: Bindings
    ) -> Outcome:
        """The outcome of a call of a function whose source is known."""
        parameters = definition.args
        names = [parameter.arg for parameter in parameters.args]
        if (
            self.depth >= _MAX_CALLS
            or _has_odd_parameters(definition)
            or call.keywords
            or len(call.args) > len(names)
        ):
            return ANYTHING
        given: dict[str, Variable] = {}
        raises = FALSE
        rewriter = Rewriter(self.sources, source, bindings)
        try:
            for name, argument in zip(names, call.args, strict=False):
                given[name] = rewriter.argument(argument)
                if given[name].expression is not None:
                    raises = either(raises, _outcome(given[name].expression).raises)
            defaults = dict(zip(reversed(names), reversed(parameters.defaults), strict=False))
            for name in names[len(call.args) :]:
                given[name] = Rewriter(self.sources, home, {}).argument(defaults[name])
        except (Unknown, KeyError):
            return ANYTHING
        self.depth += 1
        outcome = self.body(home, definition.body, given)
        self.depth -= 1
        return _raising(raises).merged(outcome)


def _again(node: ast.BoolOp, values: list[ast.expr]) -> ast.expr:
    return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)


def _raising(raises: Formula) -> Outcome:
    return _NOTHING._replace(raises=raises)


def _outcome(expression: Expression | None) -> Outcome:
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
        truthy, falsy, falsy_not_false, raises = (TRUE if is_so else FALSE for is_so in answers(expression, None))
        return Outcome(truthy, falsy, falsy_not_false, raises)
    return Outcome(TRUE, TRUE, FALSE if expression.is_bool else TRUE, FALSE if expression.never_raises else TRUE)


def answers(expression: Expression, value: Any) -> Answers:
    """The answers to all `Asks` for a value of the field."""
    try:
        result = expression.evaluate(value)
        truthy = bool(result)
    except Exception:  # noqa: BLE001 - then the rule would raise it, so it has to run
        return False, False, False, True
    return truthy, not truthy, not truthy and result is not False, False


def fields(formula: Formula) -> set[Field]:
    """The fields that the formula asks about."""
    if formula.atom is not None:
        assert formula.atom.expression.field is not None
        return {formula.atom.expression.field}
    return set().union(*(fields(part) for part in formula.parts)) if formula.parts else set()


def atoms(formula: Formula, field: Field) -> list[Atom]:
    """The questions in the formula about `field`."""
    if formula.atom is not None:
        return [formula.atom] if formula.atom.expression.field == field else []
    return [atom for part in formula.parts for atom in atoms(part, field)]


class Projection:
    """What a value of one field alone says about a formula, everything about other fields being taken as true."""

    def __init__(self, formula: Formula, field: Field, watched: frozenset[Field]) -> None:
        """Whether an expression of the `watched` fields raises is known from those fields themselves."""
        self._formula = formula
        self._field = field
        self._watched = watched
        self._raising = [atom.expression for atom in atoms(formula, field) if atom.asks is Asks.RAISES]

    def __call__(self, value: Any) -> tuple[bool, bool, bool]:
        """Whether the formula can be true for this value: if no expression of a watched field raises; in any
        case; and whether some expression of this field raises."""
        known: dict[int, Answers] = {}
        raises = any(self._answer(expression, value, known)[Asks.RAISES.value] for expression in self._raising)
        calm = self._holds(self._formula, value, known, others_raise=False)
        at_all = self._holds(self._formula, value, known, others_raise=True)
        return calm, at_all, raises

    @staticmethod
    def _answer(expression: Expression, value: Any, known: dict[int, Answers]) -> Answers:
        answer = known.get(id(expression))
        if answer is None:
            answer = known[id(expression)] = answers(expression, value)
        return answer

    def _holds(self, part: Formula, value: Any, known: dict[int, Answers], *, others_raise: bool) -> bool:
        if part.atom is not None:
            expression, asks = part.atom
            if expression.field != self._field:
                return others_raise or asks is not Asks.RAISES or expression.field not in self._watched
            return self._answer(expression, value, known)[asks.value]
        if part.kind == "and":
            return all(self._holds(inner, value, known, others_raise=others_raise) for inner in part.parts)
        if part.kind == "or":
            return any(self._holds(inner, value, known, others_raise=others_raise) for inner in part.parts)
        return part.kind == "true"
