"""How a rule's source fetches values from the event: which field that is, and what stands for a missing one."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ingestd.detections.immutable import Absent
from ingestd.detections.routing.expressions import VALUE, Expression, Field
from ingestd.detections.routing.sources import Source, Sources


class Unknown(Exception):
    """The expression is not one that can be cut out."""


class Variable:
    """What a local name stands for: the event, an expression of it, an element of a list in it, or something that can
    only be tested for its truth (`outcome`, as `outcomes.Outcome`)."""

    EVENT: ClassVar[Variable]
    UNKNOWN: ClassVar[Variable]
    __slots__ = ("element_of", "expression", "outcome")

    def __init__(
        self, expression: Expression | None, outcome: Any = None, *, element_of: Field | None = None
    ) -> None:
        self.expression = expression
        self.outcome = outcome
        self.element_of = element_of


Variable.EVENT = Variable(None)
Variable.UNKNOWN = Variable(None)


class Fetcher(ABC):
    """What it collects while it turns source into closed expressions: constants, and fields."""

    def __init__(
        self, sources: Sources, source: Source, bindings: Mapping[str, Variable], *, is_plain: bool = False
    ) -> None:
        """`is_plain` if the event has no methods but those of a mapping."""
        self._is_plain = is_plain
        self.sources = sources
        self.source = source
        self.bindings = bindings
        self.constants: dict[str, Any] = {}
        self.fields: set[Field] = set()
        self.local: set[str] = set()

    @abstractmethod
    def _node(self, node: ast.expr) -> ast.expr:
        """The closed form of a part."""

    def _holder(self, node: ast.expr) -> Variable | None:
        """The event, or an element of a list in it, if `node` stands for that."""
        if not isinstance(node, ast.Name) or node.id in self.local:
            return None
        variable = self.bindings.get(node.id)
        is_holder = variable is Variable.EVENT or (variable is not None and variable.element_of is not None)
        return variable if is_holder else None

    def _of(self, holder: Variable, *keys: str) -> ast.expr:
        """The value of a field of the event, or of an element."""
        if holder.element_of is not None:
            return self._field(Field(keys, "each", holder.element_of))
        return self._field(Field(keys))

    def _field(self, field: Field) -> ast.expr:
        self.fields.add(field)
        return ast.Name(VALUE, ast.Load())

    def _key(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id not in self.local:
            variable = self.bindings.get(node.id)
            if variable is not None and variable.expression is not None:
                node = variable.expression.node
            elif variable is None:
                constant = self.sources.constant(self.source, node.id)
                if constant is not None and type(constant[0]) is str:
                    return constant[0]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise Unknown

    def _fetch(self, holder: Variable, method: str, node: ast.Call) -> ast.expr:
        """`get`, `deep_get`, `udm` and `deep_walk`, with the default put in where the value is missing."""
        keywords = {str(keyword.arg): keyword.value for keyword in node.keywords}
        if method == "deep_walk" and node.args and keywords.keys() <= {"default", "return_val"}:
            return self._walk(node.args, keywords)
        if keywords.keys() - {"default"}:
            raise Unknown
        default = keywords.get("default")
        match method, node.args:
            case "get", [key]:
                return self._or_default(self._of(holder, self._key(key)), "_Absent_", default)
            case "get", [key, instead] if default is None:
                return self._or_default(self._of(holder, self._key(key)), "_Absent_", instead)
            case "deep_get", [_, *_]:
                return self._deep(holder, [self._key(key) for key in node.args], default)
            case "udm", [key]:
                return self._or_default(self._field(Field((self._key(key),), "udm")), "_Absent_", default)
        raise Unknown

    def _deep(self, holder: Variable, keys: list[str], default: ast.expr | None) -> ast.expr:
        if default is not None and not isinstance(default, ast.Constant) and not _is_empty(default):
            raise Unknown  # a mapping as default is looked into
        field = self._of(holder, *keys)
        if len(keys) == 1:  # the same field as get's, where missing and null come to the same
            field = ast.IfExp(_is(field, "_Absent_"), ast.Constant(None), field)
        return self._or_default(field, None, default)

    def _walk(self, keys: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
        given = []
        for name, otherwise in ("default", None), ("return_val", "all"):
            value = keywords.get(name, ast.Constant(otherwise))
            if not isinstance(value, ast.Constant) and not _is_empty(value):
                raise Unknown
            given.append(ast.unparse(value))
        return self._field(Field(tuple(map(self._key, keys)), "walk", None, f"({', '.join(given)})"))

    def _or_default(self, field: ast.expr, missing: str | None, default: ast.expr | None) -> ast.expr:
        if missing is None and default is None:
            return field
        if default is not None and not self._apart(default).never_raises:
            raise Unknown  # it is evaluated even where it is not needed
        value = ast.Constant(None) if default is None else self._node(default)
        return ast.IfExp(_is(field, missing), value, field)

    def _chain(self, node: ast.Call) -> ast.expr | None:
        """`event.get("a", {}).get("b", default)`: one field, with two ways to be missing and one to raise."""
        links: list[ast.Call] = []
        here: ast.expr = node
        while isinstance(here, ast.Call) and isinstance(here.func, ast.Attribute) and here.func.attr == "get":
            links.insert(0, here)
            here = here.func.value
        if self._holder(here) is not Variable.EVENT or any(link.keywords for link in links):
            return None
        if not all(_is_empty_dict(link.args[1:]) for link in links[:-1]) or not 1 <= len(node.args) <= 2:
            return None
        field = Field(tuple(self._key(link.args[0]) for link in links), how="chain")
        return self._or_default(self._field(field), "_Absent_", node.args[1] if len(node.args) == 2 else None)

    def _apart(self, node: ast.expr) -> Expression:
        """The closed form of a part, none of which is collected."""
        constants, fields = self.constants, self.fields
        self.constants, self.fields = {}, set()
        try:
            return Expression(self._node(node), self.constants, frozenset(self.fields))
        finally:
            self.constants, self.fields = constants, fields

    def _deeper(self, node: ast.Call) -> ast.expr | None:
        """`deep_get(mapping, *keys)` of what `event.get(key)` or `event.deep_get(*keys)` gives, as one field."""
        mapping = self._apart(node.args[0])
        field = mapping.field
        if field is None or field.how != "get" or not mapping.is_or_else_empty(ast.Dict):
            return None
        keywords = {str(keyword.arg): keyword.value for keyword in node.keywords}
        if keywords.keys() - {"default"}:
            return None
        keys = [*field.keys, *map(self._key, node.args[1:])]
        return self._deep(Variable.EVENT, keys, keywords.get("default"))

    def _within(self, node: ast.Call) -> ast.expr | None:
        """`mapping.get(key)` of what another field has."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr != "get" or node.keywords:
            return None
        if not 1 <= len(node.args) <= 2:
            return None
        mapping = self._apart(node.func.value)
        field = mapping.field
        if field is None or "walk" in field.hows or "each" in field.hows or not mapping.is_or_else_empty(ast.Dict):
            return None
        empty = [name for name, value in (("None", None), ("Absent", Absent)) if mapping.evaluate(value) == {}]
        inner = self._field(Field((self._key(node.args[0]),), "within", field, " ".join(empty)))
        return self._or_default(inner, "_Absent_", node.args[1] if len(node.args) == 2 else None)


def _is_empty(node: ast.expr) -> bool:
    return (isinstance(node, ast.Dict) and not node.keys) or (isinstance(node, ast.List) and not node.elts)


def _is_empty_dict(arguments: list[ast.expr]) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], ast.Dict) and not arguments[0].keys


def _is(node: ast.expr, what: str | None) -> ast.expr:
    right: ast.expr = ast.Constant(None) if what is None else ast.Name(what, ast.Load())
    return ast.Compare(node, [ast.Is()], [right])
