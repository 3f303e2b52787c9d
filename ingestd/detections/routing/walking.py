"""Walking through the statements of a rule as they would run, and through those of the functions that it calls.

What is not understood counts as `ANYTHING`; what led there still holds, so the rule is left out where an earlier
guard says no.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import NamedTuple

from ingestd.detections.routing.expressions import nonempty
from ingestd.detections.routing.fetching import Unknown, Variable
from ingestd.detections.routing.formulas import FALSE, TRUE, either
from ingestd.detections.routing.outcomes import ANYTHING, NOTHING, Outcome, of_expression, raising
from ingestd.detections.routing.sources import Source
from ingestd.detections.routing.syntax import elements, forgotten, is_named, probe
from ingestd.detections.routing.values import Bindings, Returned, Values, any_of


class Frame(NamedTuple):
    """A function that is being walked through."""

    source: Source
    declared: frozenset[str]
    """Names that it declares global: to assign to one is an effect."""
    returned: Returned


class Walk(Values):
    """One analysis of a function, and of all that it calls."""

    def function(
        self,
        source: Source,
        definition: ast.FunctionDef,
        given: Bindings,
        returned: Returned,
        own: frozenset[str] = frozenset(),
    ) -> Outcome:
        """The outcome of a function. To assign to global names that are its `own` leaves no trace."""
        declared = source.declared_by(definition) - own
        fixed = frozenset(name for name in declared if not source.is_bound_once(name))
        return self._body(Frame(source, fixed, returned), definition.body, given)

    def _body(
        self,
        frame: Frame,
        statements: list[ast.stmt],
        bindings: Bindings,
        ends: Callable[[Bindings], Outcome] | None = None,
    ) -> Outcome:
        """The outcome of running the statements to the function's return, or to their end, if `ends` says what
        comes of that."""
        if not statements:
            return ends(bindings) if ends is not None else frame.returned(None, bindings)
        self._step()
        first, rest = statements[0], statements[1:]
        match first:
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Global():
                return self._body(frame, rest, bindings, ends)
            case ast.Continue() | ast.Break():
                return NOTHING  # what comes after the loop is counted there
            case ast.Return(value=value):
                return frame.returned(value, bindings)
            case ast.If(test=ast.NamedExpr(target=ast.Name(id=name) as target, value=value)):
                named = ast.Assign([target], value), ast.If(ast.Name(name, ast.Load()), first.body, first.orelse)
                return self._body(frame, [*named, *rest], bindings, ends)
            case ast.If():
                test = self.expression(frame.source, first.test, bindings)
                if test.raises is TRUE:
                    return ANYTHING
                taken, passed = NOTHING, NOTHING
                if test.truthy is not FALSE:
                    taken = self._body(frame, first.body + rest, bindings, ends).within(test.truthy)
                if test.falsy is not FALSE:
                    passed = self._body(frame, first.orelse + rest, bindings, ends).within(test.falsy)
                return raising(test.raises).merged(taken).merged(passed)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name not in frame.declared:
                return self.value(
                    frame.source,
                    value,
                    bindings,
                    lambda found: self._body(frame, rest, {**bindings, name: found}, ends),
                )
            case ast.Assign(targets=[ast.Tuple(elts=[*names])], value=value) if all(
                isinstance(name, ast.Name) and name.id not in frame.declared for name in names
            ):
                bound = [name.id for name in names if isinstance(name, ast.Name)]
                return self._unpack(
                    frame.source, value, bindings, len(bound),
                    lambda found: self._body(frame, rest, {**bindings, **dict(zip(bound, found, strict=True))}, ends),
                )  # fmt: skip
            case ast.For(target=ast.Name(id=name), orelse=[]) if name not in frame.declared:
                return self._loop(frame, first, name, rest, bindings, ends)
            case ast.Try(orelse=[], finalbody=[]):
                return self._try(frame, first, rest, bindings, ends)
        return ANYTHING

    def _loop(
        self,
        frame: Frame,
        loop: ast.For,
        name: str,
        rest: list[ast.stmt],
        bindings: Bindings,
        ends: Callable[[Bindings], Outcome] | None,
    ) -> Outcome:
        """Any of the elements may end the loop, or none. What an iteration leaves for the next is not known."""
        inside = {**bindings, **forgotten([loop])}

        def over(found: Variable) -> Outcome:
            if found.expression is None:
                return ANYTHING
            runs = of_expression(nonempty(found.expression))
            passed = self._body(frame, rest, inside, ends)
            each = elements(found.expression)
            if each is None and isinstance(found.expression.node, ast.IfExp):
                test, body, orelse = found.expression.ways()
                tested = of_expression(test)
                taken = over(Variable(body)).within(tested.truthy)
                return raising(tested.raises).merged(taken).merged(over(Variable(orelse)).within(tested.falsy))
            if each is None:
                return raising(either(runs.truthy, runs.raises)).merged(passed.within(runs.falsy))
            bodies = [self._body(frame, loop.body, inside | {name: element}, lambda _: NOTHING) for element in each]
            return raising(runs.raises).merged(any_of(bodies).within(runs.truthy)).merged(passed)

        return self.value(frame.source, loop.iter, bindings, over)

    def _try(
        self,
        frame: Frame,
        statement: ast.Try,
        rest: list[ast.stmt],
        bindings: Bindings,
        ends: Callable[[Bindings], Outcome] | None,
    ) -> Outcome:
        handlers = statement.handlers
        if not all(is_named(handler.type) for handler in handlers):
            return ANYTHING
        probed = None if handlers and handlers[0].name else probe(frame.source, statement, bindings)
        if probed is not None and self._never_raises(frame.source, probed, bindings):
            caught = self._body(frame, handlers[0].body + rest, bindings, ends)
            return caught.merged(self._body(frame, rest, bindings, ends))
        # What is raised may not be caught, so it still counts.
        tried = self._body(frame, statement.body, bindings, lambda _: NOTHING)
        through = self._body(frame, statement.body + rest, bindings, ends)
        if frame.declared & {str(handler.name) for handler in handlers}:
            return ANYTHING
        after = {**bindings, **forgotten([statement])}
        caught = any_of(self._body(frame, handler.body + rest, after, ends) for handler in handlers)
        return through.merged(caught.within(tried.raises))

    def _never_raises(self, source: Source, node: ast.expr, bindings: Bindings) -> bool:
        try:
            return self._rewritten(source, node, bindings).never_raises
        except Unknown:
            return False
