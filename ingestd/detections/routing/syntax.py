"""What can be read off single pieces of a rule's source, for walking through it."""

from __future__ import annotations

import ast
import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from ingestd.detections.routing.expressions import Expression, constant
from ingestd.detections.routing.fetching import Variable
from ingestd.detections.routing.sources import Source, is_builtin

MAX_ELEMENTS = 40
"""Of a constant that a loop goes over, or of a table that a value is looked up in."""
_RAISING_VALUE_ERROR_ONLY = (ipaddress.ip_address, ipaddress.ip_network)
"""Functions without effect that, given plain values, raise nothing but ValueError."""


def probe(source: Source, statement: ast.Try, bindings: Mapping[str, Variable]) -> ast.expr | None:
    """What a try statement tries, if it does nothing but try whether that is, say, an address."""
    match statement.body, statement.handlers:
        case [ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]))], [
            ast.ExceptHandler(type=ast.Name(id="ValueError"))
        ] if name not in bindings and source.is_bound_once(name) and is_builtin(source, "ValueError"):
            known = source.module.__dict__.get(name) in _RAISING_VALUE_ERROR_ONLY
            return argument if known else None
    return None


class Argument(NamedTuple):
    """What a parameter is given."""

    name: str
    value: ast.expr
    is_default: bool


def matched(call: ast.Call, definition: ast.FunctionDef) -> list[Argument] | None:
    """What each parameter is given, in the order in which it is evaluated; None if that takes more than a look."""
    names = [parameter.arg for parameter in definition.args.args]
    given = {str(keyword.arg): keyword.value for keyword in call.keywords}
    unknown = given.keys() - set(names[len(call.args) :])
    if has_odd_parameters(definition) or len(call.args) > len(names) or unknown:
        return None
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return None
    found = [Argument(name, value, False) for name, value in zip(names, call.args, strict=False)]
    found += [Argument(name, value, False) for name, value in given.items()]
    defaults = dict(zip(reversed(names), reversed(definition.args.defaults), strict=False))
    for name in names[len(call.args) :]:
        if name in given:
            continue
        if name not in defaults or not isinstance(defaults[name], ast.Constant):
            return None
        found.append(Argument(name, defaults[name], True))
    return found


def has_odd_parameters(definition: ast.FunctionDef) -> bool:
    """Whether there are others than plain ones."""
    arguments = definition.args
    return bool(arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs)


def elements(over: Expression) -> list[Variable] | None:
    """What stands for the elements of what a loop goes over: each one of a constant, or any one of a field."""
    if over.is_constant:
        try:
            held: Any = over.evaluate(None)
        except Exception:  # noqa: BLE001 - the loop raises it, too
            return []
        if type(held) not in (list, tuple, set, frozenset, dict) or len(held) > MAX_ELEMENTS:
            return None
        return [Variable(constant(item)) for item in held]
    if isinstance(over.node, ast.List | ast.Tuple) and len(over.node.elts) <= MAX_ELEMENTS:
        return [Variable(over.part(item)) for item in over.node.elts]
    if over.field is not None and "each" not in over.field.hows and over.is_or_else_empty(ast.List):
        return [Variable(None, element_of=over.field)]
    return None


def is_named(kind: ast.expr | None) -> bool:
    """Whether an except clause says what it catches without evaluating more than names."""
    if isinstance(kind, ast.Tuple):
        return all(map(is_named, kind.elts))
    if isinstance(kind, ast.Attribute):
        return is_named(kind.value)
    return kind is None or isinstance(kind, ast.Name)


def forgotten(statements: list[ast.stmt]) -> dict[str, Variable]:
    """The names that the statements bind, of which nothing is known after some of them have run."""
    found: dict[str, Variable] = {}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found[node.id] = Variable.UNKNOWN
            elif isinstance(node, ast.ExceptHandler) and node.name is not None:
                found[node.name] = Variable.UNKNOWN
    return found
