"""What an event must look like for a rule to do anything but return False: read from the rule's source.

`analyse` walks the statements of `rule` as they would run, and gives a `Formula` over *atoms*: small pure
expressions of one field of the event, such as `event.get("eventName") in NAMES`. If the formula is false for an
event, the rule returns exactly False for it, raises nothing and changes nothing. Where the walk meets anything
that it does not know, the formula is true from there on, so knowing less means running more. Calls of helper
functions are followed.
"""

from __future__ import annotations

import ast
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from ingestd.detections.expressions import Expression, Field, nonempty
from ingestd.detections.formulas import FALSE, TRUE, Asks, Atom, Formula, answer, both, either
from ingestd.detections.immutable import wrap
from ingestd.detections.rewrite import Rewriter, Unknown, Variable
from ingestd.detections.sources import Source, Sources, is_builtin

_MAX_STEPS = 2_000
_MAX_CALLS = 8
_RAISING_VALUE_ERROR_ONLY = (ipaddress.ip_address, ipaddress.ip_network)
"""Functions without effect that, given plain values, raise nothing but ValueError."""


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


def analyse(sources: Sources, source: Source, function: str = "rule") -> Formula:
    """When the function of this module may do anything but return False. TRUE when that cannot be said."""
    definition = source.function(function)
    if definition is None or len(definition.args.args) != 1 or _has_odd_parameters(definition):
        return TRUE
    walk = _Walk(sources)
    try:
        bindings = {definition.args.args[0].arg: Variable.EVENT}
        outcome = walk.body(source, _after_resets(definition.body), bindings)
    except _TooLong:
        return TRUE
    return either(outcome.truthy, outcome.falsy_not_false, outcome.raises)


def analyse_method(sources: Sources, source: Source, function: str, atom: Atom) -> Formula:
    """The atom, which asks about what this method of a data model returns, in terms of what the method reads; about
    the method's own answer where its code does not tell."""
    asked = about_method(atom)
    assert asked.atom is not None
    definition = source.function(function)
    if definition is None or len(definition.args.args) != 1 or _has_odd_parameters(definition):
        return asked
    walk = _MethodWalk(sources, asked.atom.expression)
    try:
        outcome = walk.body(source, definition.body, {definition.args.args[0].arg: Variable.EVENT})
    except _TooLong:
        return asked
    # Where the code does not tell, it may be so; what the method answers then decides.
    return both(outcome[list(Asks).index(atom.asks)], asked)


def about_method(atom: Atom) -> Formula:
    """The atom, as one that runs the data model's method."""
    expression, asks = atom
    fields = frozenset(Field(field.keys, how="method") for field in expression.fields)
    return Formula("atom", Atom(Expression(expression.node, expression.constants, fields), asks))


def _after_resets(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements after those that only give globals a fresh value. The alert functions read such globals,
    but only after a run of the rule, which resets them first: leaving the rule out leaves no trace."""
    declared: set[str] = set()
    reset: set[str] = set()
    for position, statement in enumerate(statements):
        match statement:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.Global(names=names) if not reset:
                declared.update(names)
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in declared and _is_fresh(value):
                reset.add(name)
                continue
        # A declared global that is not reset first carries something from one event to the next.
        return statements[position:] if declared <= reset else statements
    return statements


def _is_fresh(value: ast.expr) -> bool:
    match value:
        case ast.Constant():
            return True
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
    return False


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

    def _rewriter(self, source: Source, bindings: Bindings) -> Rewriter:
        return Rewriter(self.sources, source, bindings)

    def returned(self, source: Source, value: ast.expr | None, bindings: Bindings) -> Outcome:
        """The outcome of `return value`."""
        return _RETURNS_NONE if value is None else self.expression(source, value, bindings)

    def lost(self) -> Outcome:
        """The outcome of statements that are not understood."""
        return ANYTHING

    # --- statements

    def body(self, source: Source, statements: list[ast.stmt], bindings: Bindings) -> Outcome:
        """The outcome of running the statements to the function's return."""
        if not statements:
            return self.returned(source, None, bindings)
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise _TooLong
        first, rest = statements[0], statements[1:]
        match first:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return self.body(source, rest, bindings)
            case ast.Global(names=names) if all(map(source.is_bound_once, names)):
                return self.body(source, rest, bindings)  # declared, and never assigned to
            case ast.Return(value=value):
                return self.returned(source, value, bindings)
            case ast.If():
                test = self.expression(source, first.test, bindings)
                if test is ANYTHING:
                    return self.lost()
                taken = self.body(source, first.body + rest, bindings).within(test.truthy)
                passed = self.body(source, first.orelse + rest, bindings).within(test.falsy)
                return _raising(test.raises).merged(taken).merged(passed)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                return self._assign(source, name, value, rest, bindings)
            case ast.For(orelse=[]):
                return self._loop(source, first, rest, bindings)
            case ast.Try(body=[ast.Expr(value=ast.Call() as call)], orelse=[], finalbody=[]) if self._is_probe(
                source, call, first.handlers, bindings
            ):
                caught = self.body(source, first.handlers[0].body + rest, bindings)
                return caught.merged(self.body(source, rest, bindings))
        return self.lost()

    def _loop(self, source: Source, loop: ast.For, rest: list[ast.stmt], bindings: Bindings) -> Outcome:
        """A loop that does not run at all is understood; one that runs is not."""
        try:
            over = self._rewriter(source, bindings).rewrite(loop.iter)
        except Unknown:
            return self.lost()
        runs = _outcome(nonempty(over))
        passed = self.body(source, rest, bindings).within(runs.falsy)
        return _raising(either(runs.truthy, runs.raises)).merged(passed)

    def _is_probe(
        self, source: Source, call: ast.Call, handlers: list[ast.ExceptHandler], bindings: Bindings
    ) -> bool:
        """Whether a try statement does nothing but try whether a value is, say, an address."""
        match call.func, handlers:
            case ast.Name(id=name), [ast.ExceptHandler(type=ast.Name(id="ValueError"))]:
                if name in bindings or not source.is_bound_once(name) or not is_builtin(source, "ValueError"):
                    return False
                function = source.module.__dict__.get(name)
            case _:
                return False
        if function not in _RAISING_VALUE_ERROR_ONLY or len(call.args) != 1 or call.keywords:
            return False
        try:
            argument = self._rewriter(source, bindings).rewrite(call.args[0])
        except Unknown:
            return False
        return argument.never_raises

    def _assign(
        self, source: Source, name: str, value: ast.expr, rest: list[ast.stmt], bindings: Bindings
    ) -> Outcome:
        try:
            expression = self._rewriter(source, bindings).rewrite(value)
        except Unknown:
            called = self.expression(source, value, bindings)
            if called is ANYTHING:
                return self.lost()
            tested = Variable(None, called._replace(raises=FALSE))
            return _raising(called.raises).merged(self.body(source, rest, {**bindings, name: tested}))
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
            case ast.Name(id=name) if name in bindings and bindings[name].outcome is not None:
                known: Outcome = bindings[name].outcome
                return known
            case ast.Call(func=ast.Name(id=name)) if name not in bindings:
                called = self.sources.function(source, name)
                outcome = ANYTHING if called is None else self._call(source, node, *called, bindings)
                if outcome is not ANYTHING:
                    return outcome
        try:
            return _outcome(self._rewriter(source, bindings).rewrite(node))
        except Unknown:
            return ANYTHING

    def _is_builtin(self, source: Source, name: str, bindings: Bindings) -> bool:
        return name not in bindings and is_builtin(source, name) and not self.sources.may_be_replaced(name)

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
        rewriter = self._rewriter(source, bindings)
        try:
            for name, argument in zip(names, call.args, strict=False):
                given[name] = rewriter.argument(argument)
                if given[name].expression is not None:
                    raises = either(raises, _outcome(given[name].expression).raises)
            defaults = dict(zip(reversed(names), reversed(parameters.defaults), strict=False))
            for name in names[len(call.args) :]:
                given[name] = self._rewriter(home, {}).argument(defaults[name])
        except (Unknown, KeyError):
            return ANYTHING
        self.depth += 1
        outcome = self.body(home, definition.body, given)
        self.depth -= 1
        return _raising(raises).merged(outcome)


class _MethodWalk(_Walk):
    """A walk through a data model's method for the sake of a question about what it returns."""

    def __init__(self, sources: Sources, question: Expression) -> None:
        super().__init__(sources)
        self._question = question

    def _rewriter(self, source: Source, bindings: Bindings) -> Rewriter:
        # A method gets a mapping that has none of the event's own methods.
        return Rewriter(self.sources, source, bindings, is_plain=True)

    def returned(self, source: Source, value: ast.expr | None, bindings: Bindings) -> Outcome:
        if self.depth:
            return super().returned(source, value, bindings)
        if isinstance(value, ast.IfExp):
            test = self.expression(source, value.test, bindings)
            taken = self.returned(source, value.body, bindings).within(test.truthy)
            passed = self.returned(source, value.orelse, bindings).within(test.falsy)
            return _raising(test.raises).merged(taken).merged(passed)
        try:
            said = self._rewriter(source, bindings).rewrite(value or ast.Constant(None))
            if said.is_constant:
                return _answered(answer(self._question, wrap(said.evaluate(None))))
        except Exception:  # noqa: BLE001 - Unknown, or what evaluating the constant raises
            return self.lost()
        return _outcome(self._question.of(said)) if said.is_plain else self.lost()

    def lost(self) -> Outcome:
        return super().lost() if self.depth else _outcome(self._question)


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
        return _answered(answer(expression, None))
    return Outcome(TRUE, TRUE, FALSE if expression.is_bool else TRUE, FALSE if expression.never_raises else TRUE)


def _answered(said: int) -> Outcome:
    truthy, falsy, falsy_not_false, raises = (TRUE if asks & said else FALSE for asks in Asks)
    return Outcome(truthy, falsy, falsy_not_false, raises)
