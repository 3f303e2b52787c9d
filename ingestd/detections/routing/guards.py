"""What an event must look like for a rule to do anything but return False: read from the rule's source.

`analyse` walks the statements of `rule` as they would run, and gives a `Formula` over *atoms*: small pure
expressions of one field of the event, such as `event.get("eventName") in NAMES`. If the formula is false for an
event, the rule returns exactly False for it, raises nothing and changes nothing. Where the walk meets anything
that it does not know, the formula is true from there on, so knowing less means running more. Calls of helper
functions are followed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import suppress

from ingestd.detections.immutable import wrap
from ingestd.detections.routing.expressions import Expression, viewed
from ingestd.detections.routing.fetching import Variable
from ingestd.detections.routing.formulas import TRUE, Asks, Atom, Formula, answer, both, either
from ingestd.detections.routing.outcomes import ANYTHING, Outcome, answered, of_expression
from ingestd.detections.routing.sources import Source, Sources
from ingestd.detections.routing.syntax import has_odd_parameters
from ingestd.detections.routing.values import Bindings, TooLong
from ingestd.detections.routing.walking import Walk


def analyse(sources: Sources, source: Source, function: str = "rule") -> Formula:
    """When the function of this module may do anything but return False. TRUE when that cannot be said."""
    definition = _plain_function(source, function)
    if definition is None:
        return TRUE
    own = _reset_first(definition)

    def walked(walk: Walk) -> Outcome:
        given = {definition.args.args[0].arg: Variable.EVENT}
        return walk.function(source, definition, given, walk.truth(source), own)

    outcome = _within_bounds(lambda splits: walked(Walk(sources, splits=splits)))
    return either(outcome.truthy, outcome.falsy_not_false, outcome.raises)


def analyse_method(sources: Sources, source: Source, function: str, atom: Atom) -> Formula:
    """The atom, which asks about what this method of a data model returns, in terms of what the method reads; about
    the method's own answer where its code does not tell."""
    asked = about_method(atom)
    assert asked.atom is not None
    question = asked.atom.expression
    definition = _plain_function(source, function)
    if definition is None:
        return asked

    def walked(walk: Walk) -> Outcome:
        def returned(value: ast.expr | None, bindings: Bindings) -> Outcome:
            return walk.value(source, value or ast.Constant(None), bindings, lambda found: _about(found, question))

        given = {definition.args.args[0].arg: Variable.EVENT}
        return walk.function(source, definition, given, returned)

    # A method gets a mapping that has none of the event's own methods.
    outcome = _within_bounds(lambda splits: walked(Walk(sources, is_plain=True, splits=splits)))
    # Where the code does not tell, which counts as raising, it may be so; what the method answers then decides.
    return both(either(outcome[list(Asks).index(atom.asks)], outcome.raises), asked)


def _plain_function(source: Source, function: str) -> ast.FunctionDef | None:
    definition = source.function(function)
    if definition is None or len(definition.args.args) != 1 or has_odd_parameters(definition):
        return None
    return definition


def _within_bounds(walked: Callable[[bool], Outcome]) -> Outcome:
    for splits in (True, False):
        with suppress(TooLong, RecursionError):
            return walked(splits)
    return ANYTHING


def _about(found: Variable, question: Expression) -> Outcome:
    """What a value that a method returns answers to the question."""
    said = found.expression
    if said is None:
        return ANYTHING
    if said.is_constant:
        try:
            return answered(answer(question, wrap(said.evaluate(None))))
        except Exception:  # noqa: BLE001 - what evaluating the constant raises
            return ANYTHING
    return of_expression(question.of(said if said.is_plain or said.gives_text else viewed(said)))


def about_method(atom: Atom) -> Formula:
    """The atom, as one that runs the data model's method."""
    expression, asks = atom
    fields = frozenset(field.rooted(field.root._replace(how="method")) for field in expression.fields)
    return Formula("atom", Atom(Expression(expression.node, expression.constants, fields), asks))


def _reset_first(definition: ast.FunctionDef) -> frozenset[str]:
    """The global names that a run of the rule assigns to before anything else can happen. The alert functions read
    such globals, but only after a run of the rule: leaving the rule out leaves no trace."""
    found: set[str] = set()
    for statement in definition.body:
        match statement:
            case ast.Expr(value=ast.Constant()) | ast.Global():
                continue
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
            case _:
                break
    return frozenset(found)
