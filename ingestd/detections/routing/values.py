"""What expressions of a rule's source come to: their values, or only their truth.

Whatever is bound to a name is either a closed expression or not known, and never changes.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial, reduce
from typing import Any

from ingestd.detections.routing.expressions import Expression, constant, is_mapping
from ingestd.detections.routing.fetching import Unknown, Variable
from ingestd.detections.routing.formulas import FALSE, TRUE, both, either
from ingestd.detections.routing.outcomes import ANYTHING, NOTHING, RETURNS_NONE, Outcome, of_expression, raising
from ingestd.detections.routing.rewrite import Rewriter
from ingestd.detections.routing.sources import Source, Sources, is_builtin
from ingestd.detections.routing.syntax import MAX_ELEMENTS, matched
from ingestd.detections.routing.wellknown import is_deep_get

_MAX_STEPS = 2_000
_MAX_CALLS = 8
Bindings = Mapping[str, Variable]
Then = Callable[[Variable], Outcome]
Returned = Callable[[ast.expr | None, Bindings], Outcome]
"""The outcome of `return value`."""


class TooLong(Exception):
    """There are too many ways through the code."""


class Values(ABC):
    """One analysis: bounded in steps, because each branch doubles the paths. How statements run is for those who know
    them to say (`walking`)."""

    def __init__(self, sources: Sources, *, is_plain: bool = False, splits: bool = True) -> None:
        """`is_plain` if the event has no methods but those of a mapping. `splits` if each way to a value is followed
        on its own, which tells more and takes more steps."""
        self.sources = sources
        self._is_plain = is_plain
        self._splits = splits
        self._steps = 0
        self._depth = 0

    @abstractmethod
    def function(self, source: Source, definition: ast.FunctionDef, given: Bindings, returned: Returned) -> Outcome:
        """The outcome of a function that is called with these values."""

    def truth(self, source: Source) -> Callable[[ast.expr | None, Bindings], Outcome]:
        """What `return value` comes to where only the truth of the value matters."""
        return lambda value, bindings: RETURNS_NONE if value is None else self.expression(source, value, bindings)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise TooLong

    def _rewritten(self, source: Source, node: ast.expr, bindings: Bindings) -> Expression:
        return Rewriter(self.sources, source, bindings, is_plain=self._is_plain).rewrite(node)

    # --- values

    def value(self, source: Source, node: ast.expr, bindings: Bindings, then: Then) -> Outcome:
        """The outcome of evaluating an expression and going on with its value."""
        self._step()
        if isinstance(node, ast.Name) and node.id in bindings:
            held = bindings[node.id]
            return ANYTHING if held is Variable.UNKNOWN else then(held)  # it may not even be bound
        try:
            expression = self._rewritten(source, node, bindings)
        except Unknown:
            expression = None
        # What a method gives is known where it is plain: each way by itself more often is.
        is_one = expression is not None and (expression.field is not None or expression.is_constant)
        if not is_one or (self._is_plain and isinstance(node, ast.IfExp | ast.BoolOp)):
            split = self._split(source, node, bindings, then) if self._splits else None
            if split is not None:
                return split
        if expression is not None:
            return raising(of_expression(expression).raises).merged(then(Variable(expression)))
        known = self.expression(source, node, bindings)
        if known.raises is TRUE:
            return ANYTHING
        return raising(known.raises).merged(then(Variable(None, known._replace(raises=FALSE))))

    def _unpack(
        self,
        source: Source,
        node: ast.expr,
        bindings: Bindings,
        count: int,
        then: Callable[[list[Variable]], Outcome],
    ) -> Outcome:
        """The outcome of going on with the parts of a tuple that is written out, here or in a function."""
        if isinstance(node, ast.Tuple) and len(node.elts) == count:
            parts = node.elts

            def unpacked(found: list[Variable]) -> Outcome:
                if len(found) == count:
                    return then(found)
                return self.value(source, parts[len(found)], bindings, lambda part: unpacked([*found, part]))

            return unpacked([])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in bindings:
            called = self.sources.function(source, node.func.id)
            if called is not None:
                home = called[0]
                return self._call_and_go_on(
                    source, node, called, bindings,
                    lambda value, inner, back: self._unpack(
                        home, value or ast.Constant(None), inner, count, lambda found: back(partial(then, found))
                    ),
                )  # fmt: skip
        return ANYTHING

    def _split(self, source: Source, node: ast.expr, bindings: Bindings, then: Then) -> Outcome | None:
        """The outcome by the ways on which the value may come about; None if there is one way."""

        def either_way(test: ast.expr, yes: ast.expr, no: ast.expr) -> Outcome:
            tested = self.expression(source, test, bindings)
            taken = self.value(source, yes, bindings, then).within(tested.truthy)
            return (
                raising(tested.raises)
                .merged(taken)
                .merged(self.value(source, no, bindings, then).within(tested.falsy))
            )

        match node:
            case ast.IfExp():
                return either_way(node.test, node.body, node.orelse)
            case ast.BoolOp(op=ast.Or(), values=[first, *rest]):
                return either_way(first, first, _again(node, rest))
            case ast.BoolOp(op=ast.And(), values=[first, *rest]):
                return either_way(first, _again(node, rest), first)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name) as holder, attr="get"), args=[key, default]) if (
                bindings.get(name) is Variable.EVENT
            ):
                bare = ast.Call(node.func, [key], [])
                either = either_way(ast.Compare(key, [ast.In()], [holder]), bare, default)
                return either.merged(self._evaluating(source, default, bindings))
            case ast.Call(func=ast.Attribute(attr="get"), args=[key, default], keywords=[]):
                return self._looked_up(source, node, key, default, bindings, then)
            case ast.Call(
                func=ast.Name() | ast.Attribute(value=ast.Name(), attr="deep_get"),
                keywords=[ast.keyword(arg="default", value=default)],
            ) if self._is_deep_get(source, node, bindings):
                bare = ast.Call(node.func, node.args, [])
                bare_is_null = self.expression(source, ast.Compare(bare, [ast.Is()], [ast.Constant(None)]), bindings)
                instead = self.value(source, default, bindings, partial(_unless_mapping, then))
                found = self.value(source, bare, bindings, then)
                return (
                    self._evaluating(source, default, bindings)
                    .merged(raising(bare_is_null.raises))
                    .merged(instead.within(bare_is_null.truthy))
                    .merged(found.within(bare_is_null.falsy))
                )
            case ast.Call(func=ast.Name(id=name)) if name not in bindings:
                called = self.sources.function(source, name)
                if called is not None:
                    home = called[0]
                    return self._call_and_go_on(
                        source, node, called, bindings,
                        lambda value, inner, back: self.value(
                            home, value or ast.Constant(None), inner, lambda found: back(partial(then, found))
                        ),
                    )  # fmt: skip
        return None

    def _evaluating(self, source: Source, node: ast.expr, bindings: Bindings) -> Outcome:
        """That evaluating an expression raises, whatever becomes of its value: a default is evaluated in any case."""
        return self.value(source, node, bindings, lambda _: NOTHING)

    def _is_deep_get(self, source: Source, node: ast.Call, bindings: Bindings) -> bool:
        """Whether the call is one that `bare` forms without a default are understood of."""
        if isinstance(node.func, ast.Name):
            called = None if node.func.id in bindings else self.sources.function(source, node.func.id)
            if called is None or not is_deep_get(*called):
                return False
        try:
            return self._rewritten(source, ast.Call(node.func, node.args, []), bindings).field is not None
        except Unknown:
            return False

    def _call_and_go_on(
        self,
        source: Source,
        node: ast.Call,
        called: tuple[Source, ast.FunctionDef],
        bindings: Bindings,
        returned: Callable[[ast.expr | None, Bindings, Callable[[Callable[[], Outcome]], Outcome]], Outcome],
    ) -> Outcome:
        """The outcome of a call and of what comes after it, which `returned` gets to by way of its last argument."""
        depth = self._depth

        def back(go_on: Callable[[], Outcome]) -> Outcome:
            inside, self._depth = self._depth, depth
            try:
                return go_on()
            finally:
                self._depth = inside

        return self._call(source, node, called, bindings, lambda value, inner: returned(value, inner, back))

    def _looked_up(
        self, source: Source, node: ast.Call, key: ast.expr, default: ast.expr, bindings: Bindings, then: Then
    ) -> Outcome | None:
        """`TABLE.get(key, default)` of a small constant table: what it holds under each of its keys, or the
        default."""
        assert isinstance(node.func, ast.Attribute)
        try:
            table = self._rewritten(source, node.func.value, bindings)
            held: Any = table.evaluate(None) if table.is_constant else None
        except Exception:  # noqa: BLE001 - Unknown, or what evaluating the constant raises
            return None
        if type(held) is not dict or len(held) > MAX_ELEMENTS:
            return None

        def found(wanted: Variable) -> Outcome:
            if wanted.expression is None:
                return ANYTHING
            scope = {"key": wanted, "table": Variable(constant(held))}
            within = self.expression(source, ast.Compare(_KEY, [ast.In()], [ast.Name("table", ast.Load())]), scope)
            outcomes = [raising(within.raises), self._evaluating(source, default, bindings)]
            outcomes.append(self.value(source, default, bindings, then).within(within.falsy))
            for name, value in held.items():
                same = self.expression(
                    source, ast.Compare(_KEY, [ast.Eq()], [ast.Name("name", ast.Load())]),
                    scope | {"name": Variable(constant(name))},
                )  # fmt: skip
                outcomes.append(then(Variable(constant(value))).within(same.truthy))
            return any_of(outcomes)

        return self.value(source, key, bindings, found)

    # --- expressions

    def expression(self, source: Source, node: ast.expr, bindings: Bindings) -> Outcome:
        """The outcome of evaluating an expression of which only the truth matters."""
        self._step()
        match node:
            case ast.BoolOp(op=op, values=[first, *rest]) if rest:
                left = self.expression(source, first, bindings)
                goes_on = left.truthy if isinstance(op, ast.And) else left.falsy
                right = self.expression(source, _again(node, rest), bindings).within(goes_on)
                if isinstance(op, ast.And):
                    left = left._replace(truthy=FALSE)
                else:
                    left = left._replace(falsy=FALSE, falsy_not_false=FALSE)
                return left.merged(right)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.expression(source, operand, bindings)
                return Outcome(inner.falsy, inner.truthy, FALSE, inner.raises)
            case ast.IfExp():
                test = self.expression(source, node.test, bindings)
                taken = self.expression(source, node.body, bindings).within(test.truthy)
                passed = self.expression(source, node.orelse, bindings).within(test.falsy)
                return raising(test.raises).merged(taken).merged(passed)
            case ast.Call(func=ast.Name(id="all" | "any" as name), args=[argument], keywords=[]) if self._is_builtin(
                source, name, bindings
            ):
                quantified = self._quantified(source, name, argument, bindings)
                if quantified is not None:
                    return quantified
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
                if called is not None:
                    outcome = self._call(source, node, called, bindings, self.truth(called[0]))
                    if outcome is not ANYTHING:
                        return outcome
        return self._evaluated(source, node, bindings)

    def _evaluated(self, source: Source, node: ast.expr, bindings: Bindings) -> Outcome:
        """The outcome of an expression without control flow."""
        try:
            expression = self._rewritten(source, node, bindings)
        except Unknown:
            expression = None
        if expression is not None and (expression.field is not None or expression.is_constant):
            return of_expression(expression)
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if self._splits:

                def compared(one: Variable, other: Variable) -> Outcome:
                    if None in (one.expression, other.expression):
                        return ANYTHING
                    both_sides = ast.Compare(ast.Name("left", ast.Load()), [op], [ast.Name("right", ast.Load())])
                    try:
                        found = self._rewritten(source, both_sides, {"left": one, "right": other})
                    except Unknown:
                        return ANYTHING
                    return of_expression(found)

                def with_left(one: Variable) -> Outcome:
                    then = partial(compared, one)
                    split = self._split(source, right, bindings, then)
                    return self.value(source, right, bindings, then) if split is None else split

                return self.value(source, left, bindings, with_left)
        return of_expression(expression)

    def _is_builtin(self, source: Source, name: str, bindings: Bindings) -> bool:
        return name not in bindings and is_builtin(source, name) and not self.sources.may_be_replaced(name)

    def _quantified(self, source: Source, name: str, argument: ast.expr, bindings: Bindings) -> Outcome | None:
        """`all([…])` or `any([…])` of a list that is written out: each element is evaluated."""
        if not isinstance(argument, ast.List | ast.Tuple):
            return None
        outcomes = [self.expression(source, element, bindings) for element in argument.elts]
        truthy, falsy = [outcome.truthy for outcome in outcomes], [outcome.falsy for outcome in outcomes]
        raises = either(*(outcome.raises for outcome in outcomes))
        if name == "all":
            return Outcome(both(*truthy), either(*falsy), FALSE, raises)
        return Outcome(either(*truthy), both(*falsy), FALSE, raises)

    def _call(
        self,
        source: Source,
        call: ast.Call,
        called: tuple[Source, ast.FunctionDef],
        bindings: Bindings,
        returned: Callable[[ast.expr | None, Bindings], Outcome],
    ) -> Outcome:
        """The outcome of a call of a function whose source is known, and of what is done with what it returns."""
        home, definition = called
        given = matched(call, definition)
        if self._depth >= _MAX_CALLS or given is None:
            return ANYTHING

        def bound(position: int, so_far: Bindings) -> Outcome:
            if position < len(given):
                argument = given[position]
                here, where = (home, {}) if argument.is_default else (source, bindings)
                return self.value(
                    here, argument.value, where, lambda found: bound(position + 1, {**so_far, argument.name: found})
                )
            self._depth += 1
            try:
                return self.function(home, definition, so_far, returned)
            finally:
                self._depth -= 1

        return bound(0, {})


_KEY = ast.Name("key", ast.Load())


def _unless_mapping(then: Then, default: Variable) -> Outcome:
    """The outcome of going on with the default of a `deep_get`: into a mapping it goes on looking."""
    if default.expression is None:
        return ANYTHING
    return raising(of_expression(is_mapping(default.expression)).truthy).merged(then(default))


def _again(node: ast.BoolOp, values: list[ast.expr]) -> ast.expr:
    return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)


def any_of(outcomes: Iterable[Outcome]) -> Outcome:
    """One of them happens."""
    return reduce(Outcome.merged, outcomes, NOTHING)
