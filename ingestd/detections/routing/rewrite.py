"""Cutting pure expressions out of a rule's source.

An expression is accepted only if it is built of constants, fields of the event, and operations that have no
effect and take time in proportion to the value at most.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from typing import Any

from ingestd.detections.routing.expressions import Expression, Field, call
from ingestd.detections.routing.fetching import Fetcher, Unknown, Variable
from ingestd.detections.routing.patterns import METHODS, asking
from ingestd.detections.routing.sources import is_builtin, is_mock, stands_for
from ingestd.detections.routing.wellknown import is_deep_get

_PURE_BUILTINS = {
    "len": len, "bool": bool, "any": any, "all": all, "isinstance": isinstance, "set": set,
    "frozenset": frozenset, "list": list, "tuple": tuple, "int": int, "str": str,
}  # fmt: skip
_TYPES = {
    "str": str,
    "int": int,
    "bool": bool,
    "list": list,
    "dict": dict,
    "float": float,
    "tuple": tuple,
    "set": set,
}
_PURE_METHODS = frozenset({
    "startswith", "endswith", "lower", "upper", "strip", "lstrip", "rstrip", "split", "rsplit", "partition",
    "rpartition", "casefold", "isdigit", "isnumeric", "isalpha", "isalnum", "isupper", "islower", "find", "rfind",
    "count", "removeprefix", "removesuffix", "get", "keys", "values", "items",
})  # fmt: skip
_OPERATORS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class _Something:
    """Stands for an object of which only its truth is known: it is true."""


class Rewriter(Fetcher):
    """Turns an expression of a function's source into a closed one; raises Unknown where it cannot."""

    def rewrite(self, node: ast.expr) -> Expression:
        """The closed form of `node`."""
        self.constants, self.fields = {}, set()
        return Expression(self._node(node), self.constants, frozenset(self.fields))

    def _node(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant(value=str() | int() | float() | bytes() | None):
                return node
            case ast.Name(id=name):
                return self._name(name)
            case ast.Compare(ops=ops) if all(isinstance(op, _OPERATORS) for op in ops):
                return self._compare(node)
            case ast.BoolOp():
                return ast.BoolOp(node.op, [self._node(value) for value in node.values])
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in self.bindings:
                constant = self.sources.attribute(self.source, name, attribute)
                if constant is not None and name not in self.local:
                    return self._constant(constant[0])
            case ast.BinOp(op=ast.Add()) if _is_literal(node.left) or _is_literal(node.right):
                # Adding anything else up could double a text again and again.
                return ast.BinOp(self._node(node.left), node.op, self._node(node.right))
            case ast.JoinedStr(values=parts):
                return self._formatted(parts)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return ast.Constant(-number)
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                return ast.UnaryOp(node.op, self._node(node.operand))
            case ast.IfExp():
                return ast.IfExp(self._node(node.test), self._node(node.body), self._node(node.orelse))
            case ast.Tuple() | ast.List() | ast.Set():
                return type(node)(
                    [self._node(item) for item in node.elts], *([ast.Load()] * (not isinstance(node, ast.Set)))
                )
            case ast.Dict():
                return self._dict(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
            case ast.ListComp() | ast.SetComp():
                return self._comprehension(node)
        raise Unknown

    def _name(self, name: str) -> ast.expr:
        if name in self.local:
            return ast.Name(name, ast.Load())
        variable = self.bindings.get(name)
        if variable is not None:
            if variable.element_of is not None:
                return self._field(Field((), "each", variable.element_of))
            if variable.expression is None:
                raise Unknown  # the event itself, or something known by its truth only
            self.constants |= variable.expression.constants
            self.fields |= variable.expression.fields
            return variable.expression.node
        constant = self.sources.constant(self.source, name)
        if constant is None:
            raise Unknown
        return self._constant(constant[0])

    def _constant(self, value: Any) -> ast.expr:
        value = self.sources.shared(value)
        name = f"_c{id(value):x}"
        self.constants[name] = value
        return ast.Name(name, ast.Load())

    def _formatted(self, parts: list[ast.expr]) -> ast.expr:
        """An f-string of at most one value: of several it could double a text again and again."""
        if sum(isinstance(part, ast.FormattedValue) for part in parts) > 1:
            raise Unknown
        rewritten: list[ast.expr] = []
        for part in parts:
            if isinstance(part, ast.FormattedValue):
                if part.format_spec is not None or part.conversion != -1:
                    raise Unknown
                part = ast.FormattedValue(self._node(part.value), -1)
            rewritten.append(part)
        return ast.JoinedStr(rewritten)

    def _dict(self, node: ast.Dict) -> ast.expr:
        """An empty mapping, or one of fixed texts, in which a lambda is only something true."""
        if not node.keys:
            return node
        found: dict[str, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                raise Unknown
            if isinstance(value, ast.Constant):
                found[key.value] = value.value
            elif isinstance(value, ast.Lambda):
                found[key.value] = _Something()
            else:
                raise Unknown
        return self._constant(found)

    def _compare(self, node: ast.Compare) -> ast.expr:
        holder = self._holder(node.comparators[0])
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn) and holder is not None:
            key = self._key(node.left)
            present = ast.IsNot() if isinstance(node.ops[0], ast.In) else ast.Is()
            return ast.Compare(self._of(holder, key), [present], [ast.Name("_Absent_", ast.Load())])
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
            keys = self._keys_of(node.comparators[0])
            if keys is not None:
                return ast.Compare(self._node(node.left), node.ops, [keys])
        return ast.Compare(self._side(node.left), node.ops, [self._side(item) for item in node.comparators])

    def _side(self, node: ast.expr) -> ast.expr:
        """One side of a comparison: its value, if that is an element of a constant."""
        if not isinstance(node, ast.Subscript):
            return self._node(node)
        element = self._apart(node)
        try:
            return self._constant(element.evaluate(None)) if element.is_constant else self._node(node)
        except Exception:  # noqa: BLE001 - the comparison raises it, too
            return self._node(node)

    def _keys_of(self, node: ast.expr) -> ast.expr | None:
        """`NAMES` or `NAMES.keys()`, of which only the keys matter, as a set."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="keys"), args=[], keywords=[]):
                pass
            case ast.Name(id=name):
                pass
            case _:
                return None
        if name in self.bindings or name in self.local:
            return None
        keys = self.sources.keys(self.source, name)
        return None if keys is None else self._constant(keys[0])

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        holder = self._holder(node.value)
        if holder is not None:
            return call("_item_", self._of(holder, self._key(node.slice)))
        if isinstance(node.slice, ast.Slice):
            bounds = [None if part is None else self._node(part) for part in (node.slice.lower, node.slice.upper)]
            if node.slice.step is not None:
                raise Unknown
            return ast.Subscript(self._node(node.value), ast.Slice(*bounds), ast.Load())
        return ast.Subscript(self._node(node.value), self._node(node.slice), ast.Load())

    # --- calls

    def _call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute):
            method = node.func.attr
            holder = self._holder(node.func.value)
            if holder is not None:
                if method != "get" and (self._is_plain or holder is not Variable.EVENT):
                    raise Unknown
                return self._fetch(holder, method, node)
            asking = self._pattern(node.func.value, method, node)
            if asking is not None:
                return asking
            inner = self._chain(node) or self._within(node)
            if inner is not None:
                return inner
            keywords = [self._maxsplit(method, keyword) for keyword in node.keywords]
            if method not in _PURE_METHODS:
                raise Unknown
            arguments = [self._node(argument) for argument in node.args]
            return ast.Call(ast.Attribute(self._node(node.func.value), method, ast.Load()), arguments, keywords)
        if isinstance(node.func, ast.Name) and node.args:
            holder = self._holder(node.args[0])
            called = None if node.func.id in self.bindings else self.sources.function(self.source, node.func.id)
            if called is not None and is_deep_get(*called):
                if holder is not None:
                    return self._fetch(holder, "deep_get", ast.Call(node.func, node.args[1:], node.keywords))
                deeper = self._deeper(node)
                if deeper is not None:
                    return deeper
        if isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id in _PURE_BUILTINS and is_builtin(self.source, node.func.id):
                return self._builtin(node.func.id, node.args)
            if stands_for(self.source, node.func.id, fnmatch.fnmatch) and len(node.args) == 2:
                pattern = Rewriter(self.sources, self.source, self.bindings).rewrite(node.args[1])
                if pattern.is_constant and node.func.id not in self.bindings:
                    arguments = [self._node(argument) for argument in node.args]
                    return ast.Call(self._constant(fnmatch.fnmatch), arguments, [])
            if not node.args and node.func.id not in self.bindings:
                return self._written_out(node.func.id)
        raise Unknown

    def _maxsplit(self, method: str, keyword: ast.keyword) -> ast.keyword:
        if method not in {"split", "rsplit"} or keyword.arg != "maxsplit":
            raise Unknown
        return ast.keyword(keyword.arg, self._node(keyword.value))

    def _pattern(self, holder: ast.expr, method: str, node: ast.Call) -> ast.expr | None:
        """`PATTERN.search(x)` or `re.search("…", x)`."""
        if method not in METHODS or node.keywords or not isinstance(holder, ast.Name) or holder.id in self.bindings:
            return None
        pattern: Any = None
        if stands_for(self.source, holder.id, re) and len(node.args) == 2:
            text = Rewriter(self.sources, self.source, self.bindings).rewrite(node.args[0])
            wanted = text.evaluate(None) if text.is_constant else None
            pattern = _compiled(wanted) if isinstance(wanted, str) else None
        elif len(node.args) == 1:
            constant = self.sources.constant(self.source, holder.id)
            pattern = constant[0] if constant is not None else None
        if not isinstance(pattern, re.Pattern):
            return None
        return ast.Call(self._constant(asking(pattern, method)), [self._node(node.args[-1])], [])

    def _written_out(self, name: str) -> ast.expr:
        """The value of a function that does nothing but return a constant."""
        called = self.sources.function(self.source, name)
        if called is None or called[1].args.args or called[1].args.kwonlyargs:
            raise Unknown
        body = [part for part in called[1].body if not _is_docstring(part)]
        if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            raise Unknown
        constant = Rewriter(self.sources, called[0], {}).rewrite(body[0].value)
        self.constants |= constant.constants
        return constant.node

    def _builtin(self, name: str, arguments: list[ast.expr]) -> ast.expr:
        if name not in _PURE_BUILTINS or name in self.bindings or not is_builtin(self.source, name):
            raise Unknown
        if self.sources.may_be_replaced(name):
            raise Unknown
        if name == "isinstance":
            if len(arguments) != 2:
                raise Unknown  # it fails, when it runs
            value, types = arguments
            mocked = self._is_mocked(value, types)
            if mocked is not None:
                return ast.Constant(mocked)
            return ast.Call(self._constant(isinstance), [self._node(value), self._types(types)], [])
        return ast.Call(self._constant(_PURE_BUILTINS[name]), [self._argument(item) for item in arguments], [])

    def _argument(self, node: ast.expr) -> ast.expr:
        """What a builtin is given. Only there may a generator stand: with a name it could be used up before."""
        return self._comprehension(node) if isinstance(node, ast.GeneratorExp) else self._node(node)

    def _is_mocked(self, value: ast.expr, types: ast.expr) -> bool | None:
        """Whether a global name stands for a mock, if that is asked and the name never changes."""
        match value, types:
            case ast.Name(id=name), ast.Name(id=kind):
                names = self.source.module.__dict__
                if name in self.bindings or name in self.local or not self.source.is_bound_once(name):
                    return None
                if self.source.is_bound_once(kind) and name in names:
                    return is_mock(names[name], names.get(kind))
        return None

    def _types(self, node: ast.expr) -> ast.expr:
        names = node.elts if isinstance(node, ast.Tuple) else [node]
        found = []
        for name in names:
            if not isinstance(name, ast.Name) or name.id not in _TYPES or not is_builtin(self.source, name.id):
                raise Unknown
            if name.id in self.bindings or name.id in self.local:
                raise Unknown
            found.append(self._constant(_TYPES[name.id]))
        return ast.Tuple(list(found), ast.Load())

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp | ast.SetComp) -> ast.expr:
        """One loop over a constant: in proportion to the value it stays."""
        if len(node.generators) != 1 or not isinstance(node.generators[0].target, ast.Name):
            raise Unknown
        loop = node.generators[0]
        assert isinstance(loop.target, ast.Name)
        fields = self.fields
        self.fields = set()
        over = self._node(loop.iter)
        if self.fields or loop.is_async or loop.target.id in self.local or loop.target.id in self.bindings:
            raise Unknown
        self.fields = fields
        self.local.add(loop.target.id)
        try:
            element = self._node(node.elt)
            tests = [self._node(test) for test in loop.ifs]
        finally:
            self.local.discard(loop.target.id)
        return type(node)(element, [ast.comprehension(loop.target, over, tests, 0)])


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
