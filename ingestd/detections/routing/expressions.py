"""Pure expressions of an event: code that is closed over its constants, and what is known about it.

An expression sees nothing but the value of its field and the constants found with it, so it can be asked without
running the rule it was cut out of (`rewrite`).
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from ingestd.detections.immutable import Absent, wrap


class Field(NamedTuple):
    """What a rule may ask of an event."""

    keys: tuple[str, ...]
    how: Literal["get", "udm", "chain", "method", "walk", "within", "each"] = "get"
    """`event.get(key)` or `event.deep_get(*keys)`; `event.udm(key)`; `event.get(key, {}).get(key, {})…`; `udm` where
    the data model's method has to be run to know; `event.deep_walk(*keys)`; `.get(key)` of the mapping in another
    field; the elements of a list in another field, or what they have under `keys`."""
    of: Field | None = None
    """The other field."""
    given: str = ""
    """Default and `return_val` of `deep_walk`, as Python writes them. Which of None and `Absent` count as an empty
    mapping, for `within`."""

    @property
    def root(self) -> Field:
        """The field of the event that it is all about."""
        return self if self.of is None else self.of.root

    @property
    def hows(self) -> tuple[str, ...]:
        """How it and the fields that it is of are fetched."""
        return (self.how,) if self.of is None else (self.how, *self.of.hows)

    def rooted(self, root: Field) -> Field:
        """The same with another root."""
        return root if self.of is None else self._replace(of=self.of.rooted(root))


class Undecided(Exception):
    """Evaluating would take too long."""


VALUE = "_value_"
"""Name of the field's value in an expression."""


class Expression:
    """A closed expression. It reads one field (`field`), none (`is_constant`), or several."""

    def __init__(self, node: ast.expr, constants: dict[str, Any], fields: frozenset[Field]) -> None:
        self.node = node
        self.constants = constants
        self.fields = fields
        self._function: Callable[[Any], Any] | None = None

    @cached_property
    def key(self) -> str:
        """Equal for expressions that are written alike with the same constants."""
        return ast.dump(self.node)

    @property
    def field(self) -> Field | None:
        """The field, if there is exactly one."""
        return next(iter(self.fields)) if len(self.fields) == 1 else None

    @property
    def is_constant(self) -> bool:
        """Whether it reads no field."""
        return not self.fields

    @property
    def is_plain(self) -> bool:
        """Whether it is a field as it is, perhaps with a constant for a missing one."""
        return _is_value(self.node)

    def of(self, value: Expression) -> Expression:
        """This expression of what another one gives."""
        node = _Replacing(value.node).visit(copy.deepcopy(self.node))
        return Expression(node, {**self.constants, **value.constants}, value.fields)

    def ways(self) -> list[Expression]:
        """Test, body and alternative of a conditional expression."""
        assert isinstance(self.node, ast.IfExp)
        return [self.part(part) for part in (self.node.test, self.node.body, self.node.orelse)]

    def part(self, node: ast.expr) -> Expression:
        """What a node within it stands for by itself."""
        reads = any(isinstance(part, ast.Name) and part.id == VALUE for part in ast.walk(node))
        return Expression(node, self.constants, self.fields if reads else frozenset())

    @property
    def never_raises(self) -> bool:
        """Whether no values of its fields can make it raise: it only fetches, in ways that cannot fail, and compares
        for equality."""
        return all(field.how == "get" for field in self.fields) and self.takes_anything

    @cached_property
    def takes_anything(self) -> bool:
        """Whether no plain values make it raise once they have been fetched."""
        return all(isinstance(node, _FETCHING) or _is_equality(node) for node in ast.walk(self.node))

    @property
    def is_bool(self) -> bool:
        """Whether its value is True or False whatever its fields are."""
        return _is_bool(self.node, self.constants)

    def evaluate(self, value: Any) -> Any:
        """Its value for a value of the field, which may be `Absent`. Raises what the rule would raise."""
        function = self._function
        if function is None:
            if isinstance(self.node, ast.Constant):  # need not be compiled
                return self.node.value
            parameter = ast.arguments(
                posonlyargs=[], args=[ast.arg(VALUE)], kwonlyargs=[], kw_defaults=[], defaults=[]
            )
            tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(parameter, self.node)))
            scope = {"__builtins__": {}, **_SCOPE, **self.constants}
            with warnings.catch_warnings(action="ignore"):  # of code that compares constants
                compiled = compile(tree, "<guard>", "eval")
            function = self._function = eval(compiled, scope)  # noqa: S307 - checked nodes only
        return function(value)

    def tells_apart(self) -> frozenset[str] | None:
        """The texts that the expression can tell from any other text; None when that is not a fixed set."""
        return _told_apart(self.node, self.constants)

    @property
    def gives_text(self) -> bool:
        """Whether its value is a text, if it has one."""
        return _is_text(self.node, self.constants)

    @property
    def may_take_long(self) -> bool:
        """Whether it asks something that takes more time than in proportion to the value."""
        return any(getattr(value, "may_take_long", False) for value in self.constants.values())

    def is_or_else_empty(self, kinds: type[ast.Dict] | type[ast.List]) -> bool:
        """Whether its value is that of its field, except that an empty literal may stand for what is false."""
        return _is_or_else_empty(self.node, kinds)

    @property
    def looks_into_containers(self) -> bool:
        """Whether two lists, or two mappings, neither of them empty, may be different things to the expression."""
        return self.tells_apart() is None or _compares_containers(self.node, self.constants)


class _Replacing(ast.NodeTransformer):
    """Puts a node in the place of the field's value."""

    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._value if node.id == VALUE else node


_FETCHING = (
    ast.Name, ast.Constant, ast.IfExp, ast.BoolOp, ast.UnaryOp, ast.expr_context, ast.cmpop, ast.boolop, ast.Not,
    ast.Dict,
)  # fmt: skip
_BOOLEAN_METHODS = frozenset(
    {"startswith", "endswith", "isdigit", "isnumeric", "isalpha", "isalnum", "isupper", "islower"}
)


def _is_equality(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and all(
        isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) for op in node.ops
    )


def _is_bool(node: ast.expr, constants: Mapping[str, Any]) -> bool:
    match node:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Constant(value=value):
            return isinstance(value, bool)
        case ast.BoolOp(values=values):
            return all(_is_bool(value, constants) for value in values)
        case ast.IfExp(body=body, orelse=orelse):
            return _is_bool(body, constants) and _is_bool(orelse, constants)
        case ast.Call(func=ast.Name(id=name)):
            return name == "_is_mapping_" or constants.get(name) in (any, all, bool, isinstance)
        case ast.Call(func=ast.Attribute(attr=method)):
            return method in _BOOLEAN_METHODS
    return False


_TEXT_METHODS = frozenset({"lower", "upper", "strip", "lstrip", "rstrip", "casefold", "removeprefix", "removesuffix"})


def _is_text(node: ast.expr, constants: Mapping[str, Any]) -> bool:
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return type(constants.get(name)) is str
        case ast.Call(func=ast.Name(id=name)):
            return constants.get(name) is str
        case ast.Call(func=ast.Attribute(attr=method)):
            return method in _TEXT_METHODS
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_text(left, constants) or _is_text(right, constants)
        case ast.Subscript(value=ast.Call(func=ast.Attribute(attr="split" | "rsplit")), slice=index):
            return not isinstance(index, ast.Slice)
        case ast.IfExp(body=body, orelse=orelse):
            return _is_text(body, constants) and _is_text(orelse, constants)
    return False


def _is_or_else_empty(node: ast.expr, kinds: type[ast.Dict] | type[ast.List]) -> bool:
    match node:
        case ast.Name(id=name):
            return name == VALUE
        case ast.IfExp(
            test=ast.Compare(
                left=left, ops=[ast.Is()], comparators=[ast.Name(id="_Absent_") | ast.Constant(value=None)]
            ),
            body=body,
            orelse=orelse,
        ):
            is_empty = _is_empty(body, kinds) or (isinstance(body, ast.Constant) and not body.value)
            return _is_or_else_empty(left, kinds) and is_empty and _is_or_else_empty(orelse, kinds)
        case ast.BoolOp(op=ast.Or(), values=[value, instead]):
            return _is_or_else_empty(value, kinds) and _is_empty(instead, kinds)
    return False


def _is_empty(node: ast.expr, kinds: type[ast.Dict] | type[ast.List]) -> bool:
    return isinstance(node, kinds) and not (node.keys if isinstance(node, ast.Dict) else node.elts)


def _is_nonempty(value: Any) -> bool:
    return any(True for _ in value)


def _item(value: Any) -> Any:
    if value is Absent:
        raise KeyError
    return value


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def constant(value: Any) -> Expression:
    """The expression that is `value`."""
    if type(value) in (str, bytes, int, float, bool, type(None)):
        return Expression(ast.Constant(value), {}, frozenset())
    name = f"_c{id(value):x}"
    return Expression(ast.Name(name, ast.Load()), {name: value}, frozenset())


_SCOPE = {
    "_Absent_": Absent, "_item_": _item, "_is_nonempty_": _is_nonempty, "_is_mapping_": _is_mapping, "_view_": wrap,
}  # fmt: skip


def nonempty(expression: Expression) -> Expression:
    """Whether a loop over the expression's value would run at all; raises where the loop would."""
    return Expression(call("_is_nonempty_", expression.node), expression.constants, expression.fields)


def is_mapping(expression: Expression) -> Expression:
    """Whether the expression's value is one that `deep_get` looks into."""
    return Expression(call("_is_mapping_", expression.node), expression.constants, expression.fields)


def viewed(expression: Expression) -> Expression:
    """The expression's value, behind a view if it is a list or a mapping."""
    return Expression(call("_view_", expression.node), expression.constants, expression.fields)


def call(name: str, argument: ast.expr) -> ast.expr:
    """The call of one of the functions that every expression can see."""
    return ast.Call(ast.Name(name, ast.Load()), [argument], [])


def _told_apart(node: ast.expr, constants: Mapping[str, Any]) -> frozenset[str] | None:
    if _is_value(node):
        return frozenset({""})  # its truth
    match node:
        case ast.BoolOp(values=values):
            return _union([_told_apart(value, constants) for value in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _told_apart(operand, constants)
        case ast.IfExp() if not _is_value(node):
            return _union([_told_apart(part, constants) for part in (node.test, node.body, node.orelse)])
        case ast.Constant() | ast.List(elts=[]) | ast.Dict(keys=[]):
            return frozenset()
        case ast.List(elts=elts) | ast.Tuple(elts=elts) if all(map(_is_value, elts)):
            return frozenset()
        case ast.Call(func=ast.Name(id=name), args=[argument, _]) if constants.get(name) is isinstance:
            return frozenset() if _is_value(argument) else None
        case ast.Call(func=ast.Name(id="_is_mapping_"), args=[argument]) if _is_value(argument):
            return frozenset()
        case ast.Call(func=ast.Name(id="_is_nonempty_"), args=[ast.List(elts=[_]) as argument]):
            return _told_apart(argument, constants)
        case ast.Call(func=ast.Name(id="_is_nonempty_"), args=[argument]):
            is_its_truth = _is_or_else_empty(argument, ast.List) or _is_or_else_empty(argument, ast.Dict)
            return frozenset({""}) if is_its_truth else None
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[argument]) if _is_value(
            argument
        ):
            table = constants.get(name)
            return frozenset(key for key in table if isinstance(key, str)) if isinstance(table, dict) else None
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            if not _is_value(left):
                left, right = right, left
                if isinstance(op, ast.In | ast.NotIn):
                    return None
            wanted = _value_of(right, constants)
            if (
                not _is_value(left)
                or wanted is None
                or not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn | ast.Is | ast.IsNot)
            ):
                return None
            if isinstance(op, ast.In | ast.NotIn):
                if isinstance(wanted[0], str | bytes) or not hasattr(wanted[0], "__iter__"):
                    return None
                return frozenset(item for item in wanted[0] if isinstance(item, str))
            return frozenset({wanted[0]}) if isinstance(wanted[0], str) else frozenset()
    return None


def _is_value(node: ast.expr) -> bool:
    """Whether the node is the field's value, perhaps with a constant in place of a missing one."""
    match node:
        case ast.Name(id=name):
            return name == VALUE
        case ast.IfExp(
            test=ast.Compare(
                left=left, ops=[ast.Is()], comparators=[ast.Name(id="_Absent_") | ast.Constant(value=None)]
            ),
            body=ast.Constant(),
            orelse=orelse,
        ):
            return _is_value(left) and _is_value(orelse)
        case ast.Call(func=ast.Name(id="_item_"), args=[argument]):
            return _is_value(argument)
    return False


def _value_of(node: ast.expr, constants: Mapping[str, Any]) -> tuple[Any] | None:
    match node:
        case ast.Constant(value=value):
            return (value,)
        case ast.Name(id="_Absent_"):
            return (Absent,)
        case ast.Name(id=name) if name in constants:
            return (constants[name],)
        case ast.Tuple(elts=elts) | ast.List(elts=elts) | ast.Set(elts=elts):
            values = [_value_of(item, constants) for item in elts]
            return None if None in values else (tuple(value[0] for value in values if value is not None),)
    return None


def _compares_containers(node: ast.expr, constants: Mapping[str, Any]) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Compare):
            for side in (part.left, *part.comparators):
                wanted = _value_of(side, constants)
                is_among = isinstance(part.ops[0], ast.In | ast.NotIn) and side is not part.left
                members = wanted[0] if wanted and is_among else wanted or ()
                if any(isinstance(member, tuple | list | dict | set | frozenset) for member in members):
                    return True
    return False


def _union(sets: list[frozenset[str] | None]) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for item in sets:
        if item is None:
            return None
        found |= item
    return found


PRESENT: Final = Expression(ast.parse(f"None if {VALUE} is _Absent_ else {VALUE}", mode="eval").body, {}, frozenset())
"""Whether there is anything in a field but emptiness."""
