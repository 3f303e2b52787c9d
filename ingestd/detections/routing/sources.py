"""The source of loaded modules, for analysis: what a module's global names are bound to, and whether anyone can
have changed it since."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

_SCALARS = (str, bytes, int, float, bool, type(None))
_READING_METHODS = frozenset({"get", "items", "keys", "values", "copy", "index", "count", "union", "intersection"})
_READING_BUILTINS = frozenset(
    {"len", "any", "all", "isinstance", "set", "frozenset", "tuple", "list", "sorted", "min", "max", "sum"}
)
_REACHING_EVERYTHING = frozenset({"exec", "eval", "setattr", "delattr", "globals", "vars", "__import__", "importlib"})
_REACHING_ATTRIBUTES = frozenset(
    {"__dict__", "__globals__", "__code__", "__defaults__", "__kwdefaults__", "__setattr__", "__builtins__"}
)
_RUNS_LATER = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
"""Flags of functions whose calls run nothing of their bodies."""
_MAX_CONSTANT = 10_000


class Source:
    """One module: its syntax tree, and how each global name is used in it."""

    def __init__(self, module: ModuleType, text: bytes) -> None:
        self.module = module
        self.tree = ast.parse(text, str(module.__file__))
        self.functions: dict[str, ast.FunctionDef] = {}
        self._declared: dict[ast.FunctionDef, frozenset[str]] = {}
        self.bindings: Counter[str] = Counter()
        """How many places bind a name."""
        self.mutated: set[str] = set()
        """Names through which a container may be changed."""
        self.opened: set[str] = set()
        """Names through which a container within a container may be changed."""
        self.passed_on: dict[str, set[str]] = {}
        """Names to the names that are bound to what such a container holds."""
        self.reaches_everything = False
        self.only_when_mocked: set[ast.AST] = set()
        """Assignments to a global name that run only while a test has put a mock in its place."""
        self.stored_attributes: set[str] = set()
        """Attributes that the module sets on anything, which may be another module."""
        self.used_attributes: set[str] = set()
        """Attributes through which it may change a container, which may be a global of another module."""
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef):
                self.functions[statement.name] = statement
        _note_mocks(self)
        _note_uses(self)

    def function(self, name: str) -> ast.FunctionDef | None:
        """The one plain definition of a module-level function that the name still stands for."""
        definition = self.functions.get(name)
        value = self.module.__dict__.get(name)
        if (
            definition is None
            or definition.decorator_list
            or self.bindings[name] != 1
            or not isinstance(value, FunctionType)
            or value.__code__.co_flags & _RUNS_LATER
            or value.__code__.co_filename != self.module.__file__
            or value.__code__.co_firstlineno != definition.lineno
        ):
            return None
        return definition

    def declared_by(self, definition: ast.FunctionDef) -> frozenset[str]:
        """Names that a function declares global."""
        found = self._declared.get(definition)
        if found is None:
            statements = (node for node in ast.walk(definition) if isinstance(node, ast.Global))
            found = self._declared[definition] = frozenset(name for node in statements for name in node.names)
        return found

    def is_bound_once(self, name: str) -> bool:
        """Whether the module binds the global name in one place only, which runs when it is imported."""
        return self.bindings[name] == 1

    def is_read_only(self, name: str, *, deeply: bool = False) -> bool:
        """Whether nothing in the module can change the container that the global name stands for; `deeply`, nor any
        container within it."""
        pending, seen = [name], {name}
        while pending:
            here = pending.pop()
            if here in self.mutated or (deeply and here in self.opened):
                return False
            if deeply:
                pending += (names := self.passed_on.get(here, set()) - seen)
                seen |= names
        return not self.reaches_everything


class Sources:
    """The sources of all modules that can reach each other's globals."""

    def __init__(self, modules: Iterable[tuple[ModuleType, bytes]]) -> None:
        self.by_name: dict[str, Source] = {}
        self._holders: dict[int, list[tuple[Source, str]]] = {}
        for module, text in modules:
            source = self.by_name[module.__name__] = Source(module, text)
            for name, value in module.__dict__.items():
                if isinstance(value, set | list | dict) and not name.startswith("__"):
                    self._holders.setdefault(id(value), []).append((source, name))
        self._shared: dict[tuple[type, str], Any] = {}
        self._reached = any(source.reaches_everything for source in self.by_name.values())
        self._stored = set[str]().union(*(source.stored_attributes for source in self.by_name.values()))
        self._used = set[str]().union(*(source.used_attributes for source in self.by_name.values()))

    def may_be_replaced(self, name: str) -> bool:
        """Whether some module may put something else in the place of a global of this name, from outside."""
        return self._reached or name in self._stored

    def shared(self, value: Any) -> Any:
        """The first of all constants that are equal, types included."""
        if type(value) in (tuple, frozenset, set, list) and all(type(item) in _SCALARS for item in value):
            items = value if isinstance(value, tuple | list) else sorted(value, key=repr)
            return self._shared.setdefault((type(value), repr(list(items))), value)
        return value

    def constant(self, source: Source, name: str) -> tuple[Any] | None:
        """The value of a global name as a 1-tuple, if it is plain data that stays as it is now."""
        if name not in source.module.__dict__:
            return None
        value = source.module.__dict__[name]
        if not source.is_bound_once(name) or self.may_be_replaced(name):
            return None
        if _is_frozen(value):
            return (value,)
        if not self._is_left_alone(value):
            return None
        items = value.items() if isinstance(value, dict) else value
        if all(_is_frozen(item) for item in items):
            return (value,)
        within = _containers_within(value)
        is_left = within is not None and self._is_left_alone(value, deeply=True)
        return (value,) if is_left and within is not None and all(map(self._is_nobodys, within)) else None

    def keys(self, source: Source, name: str) -> tuple[Any] | None:
        """The keys of a global mapping as a 1-tuple of a mapping to nothing, if they stay what they are now. Asked
        whether it has a set, a mapping raises, where a set would answer."""
        value: Any = source.module.__dict__.get(name)
        if type(value) is not dict or not source.is_bound_once(name) or name in self._stored:
            return None
        if not self._is_left_alone(value):
            return None
        if not all(_is_frozen(key) for key in value):
            return None
        return (self._shared.setdefault((dict, repr(list(value))), dict.fromkeys(value)),)

    def _is_nobodys(self, value: Any) -> bool:
        return id(value) not in self._holders

    def _is_left_alone(self, value: Any, *, deeply: bool = False) -> bool:
        """Whether no module changes this container, under any of the names that it has."""
        holders = self._holders.get(id(value), [])
        return (
            type(value) in (set, list, dict)
            and len(value) <= _MAX_CONSTANT
            and not self._reached
            and bool(holders)
            and all(held not in self._used and holder.is_read_only(held, deeply=deeply) for holder, held in holders)
        )

    def attribute(self, source: Source, name: str, attribute: str) -> tuple[Any] | None:
        """The value of `name.attribute`, where `name` is a helper's module, as a 1-tuple, if it is plain data that
        stays as it is now."""
        module: object = source.module.__dict__.get(name)
        if not isinstance(module, ModuleType) or not source.is_bound_once(name) or attribute in self._stored:
            return None
        home = self.by_name.get(module.__name__)
        if home is None or home.module is not module or self._reached:
            return None
        return self.constant(home, attribute)

    def function(self, source: Source, name: str) -> tuple[Source, ast.FunctionDef] | None:
        """The definition behind a global name, in this module or in a helper it was imported from."""
        if self.may_be_replaced(name):
            return None
        definition = source.function(name)
        if definition is not None:
            return source, definition
        value: object = source.module.__dict__.get(name)
        if not isinstance(value, FunctionType) or not source.is_bound_once(name):
            return None
        defined_as = value.__name__
        origin = self.by_name.get(str(value.__module__))
        if origin is None or origin.module.__dict__.get(defined_as) is not value:
            return None
        definition = origin.function(defined_as)
        return None if definition is None else (origin, definition)


def stands_for(source: Source, name: str, value: object) -> bool:
    """Whether a global name stands for `value`, and for nothing else ever."""
    return source.is_bound_once(name) and source.module.__dict__.get(name) is value


def is_builtin(source: Source, name: str) -> bool:
    """Whether a name in a module is the builtin of that name, and no function has a variable of that name."""
    return not source.bindings[name] and name not in source.module.__dict__ and hasattr(builtins, name)


def _is_frozen(value: Any) -> bool:
    if type(value) in _SCALARS or type(value) is re.Pattern:
        return True
    if type(value) in (tuple, frozenset):
        return len(value) <= _MAX_CONSTANT and all(_is_frozen(item) for item in value)
    return False


def _containers_within(value: Any) -> list[Any] | None:
    """The lists, sets and mappings within plain data; None if there is anything else in it, or too much."""
    found: list[Any] = []
    pending = [value]
    count = 0
    while pending:
        here = pending.pop()
        items = [*here, *here.values()] if isinstance(here, dict) else [*here]
        count += len(items)
        inner = [item for item in items if not _is_frozen(item)]
        if count > _MAX_CONSTANT or not all(type(item) in (list, set, dict) for item in inner):
            return None
        found += inner
        pending += inner
    return found


_LEAVES = (ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop, ast.Constant, ast.Pass, ast.Break)


def _note_mocks(source: Source) -> None:
    """Find `if isinstance(NAME, MagicMock): NAME = …`, which does nothing to a NAME that is no mock."""
    for node in ast.walk(source.tree):
        match node:
            case ast.If(
                test=ast.Call(
                    func=ast.Name(id="isinstance"), args=[ast.Name(id=name), ast.Name(id=kind)], keywords=[]
                ),
                body=[ast.Assign(targets=[ast.Name(id=assigned) as target])],
                orelse=[],
            ) if assigned == name and "isinstance" not in source.module.__dict__:
                names = source.module.__dict__
                if is_mock(names.get(name), names.get(kind)) is False:
                    source.only_when_mocked.add(target)


def is_mock(value: Any, kind: Any) -> bool | None:
    """Whether `value` is a mock, if `kind` is `MagicMock`. That is known where a rule has imported it: importing it
    here would bring asyncio into the children."""
    mock: Any = getattr(sys.modules.get("unittest.mock"), "MagicMock", None)
    return isinstance(value, mock) if mock is not None and kind is mock else None


class _Place(NamedTuple):
    """A node and what it stands in."""

    node: ast.AST
    outer: _Place | None


def _note_uses(source: Source) -> None:
    """Collect where a module binds its global names, and which may be changed through the name. A use is judged by
    the nodes around it, which a plain visitor does not know."""
    pending: list[_Place] = [_Place(source.tree, None)]
    while pending:
        place = pending.pop()
        _note(source, place)
        for name in place.node._fields:
            value = getattr(place.node, name, None)
            for child in value if type(value) is list else (value,):
                if isinstance(child, ast.AST) and not isinstance(child, _LEAVES):
                    pending.append(_Place(child, place))


def _note(source: Source, place: _Place) -> None:
    match place.node:
        case ast.Name() as name:
            _note_name(source, name, place.outer)
        case ast.Attribute(attr=attribute, ctx=ast.Store() | ast.Del()):
            source.stored_attributes.add(attribute)
            source.reaches_everything |= attribute in _REACHING_ATTRIBUTES
        case ast.Attribute(attr=attribute) as node:
            source.reaches_everything |= attribute in _REACHING_ATTRIBUTES
            outer = place.outer
            if outer is None or not (_only_reads(node, outer) and _passes_on(node, outer, source.used_attributes)):
                source.used_attributes.add(attribute)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            source.bindings[place.node.name] += 1
        case ast.alias(name=name, asname=other):
            source.bindings[(other or name).partition(".")[0]] += 1
        case ast.Global(names=names):
            mocked = {target.id for target in source.only_when_mocked if isinstance(target, ast.Name)}
            for name in names:
                # Bound from within functions: never constant, unless all those assignments are counted by themselves.
                source.bindings[name] += 0 if name in mocked else 2
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            source.bindings[name] += 1


def _note_name(source: Source, node: ast.Name, outer: _Place | None) -> None:
    if node in source.only_when_mocked or outer is None:
        return
    if not isinstance(node.ctx, ast.Load):
        # A local variable of the same name counts too: the analysis then just knows less.
        source.bindings[node.id] += 1
        if isinstance(node.ctx, ast.Del) or isinstance(outer.node, ast.AugAssign):
            source.mutated.add(node.id)
        return
    if node.id in _REACHING_EVERYTHING:
        source.reaches_everything = True
    if not _only_reads(node, outer):
        source.mutated.add(node.id)
    if not _passes_on(node, outer, source.passed_on.setdefault(node.id, set())):
        source.opened.add(node.id)


def _only_reads(node: ast.AST, outer: _Place) -> bool:
    """Whether this use of a container cannot change it, or let it out of sight."""
    match outer.node:
        case ast.Compare():
            return True
        case ast.Subscript(value=value, ctx=context):
            return value is node and isinstance(context, ast.Load)
        case ast.For(iter=over) | ast.comprehension(iter=over):
            return over is node
        case ast.Attribute(attr=attribute, ctx=ast.Load()):
            return attribute in _READING_METHODS and _is_called(outer)
        case ast.Call(func=ast.Name(id=name) as function):
            # No container can be called: that fails, and changes nothing.
            return node is function or name in _READING_BUILTINS
        case ast.UnaryOp():
            return True
        case ast.If(test=test) | ast.IfExp(test=test):
            return test is node
    return False


def _is_called(place: _Place) -> bool:
    return place.outer is not None and isinstance(place.outer.node, ast.Call) and place.outer.node.func is place.node


def _passes_on(node: ast.AST, outer: _Place, names: set[str]) -> bool:
    """Whether this use of a container lets the containers within it get nowhere, or to the names that are added to
    `names` only."""
    match outer.node:
        case ast.Compare() | ast.UnaryOp() | ast.If() | ast.IfExp():
            return _only_reads(node, outer)
        case ast.Call(func=ast.Name(id="len" | "any" | "all" | "isinstance")):
            return True
        case ast.For(iter=over, target=target) | ast.comprehension(iter=over, target=target) if over is node:
            bound = target.elts if isinstance(target, ast.Tuple) else [target]
            names.update(name.id for name in bound if isinstance(name, ast.Name))
            return all(isinstance(name, ast.Name) for name in bound)
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if value is node:
            names.add(name)
            return True
        case ast.Subscript(value=value, ctx=ast.Load()) if value is node and outer.outer is not None:
            return _passes_on(outer.node, outer.outer, names) and _is_no_change(outer)
        case ast.Attribute(attr="keys") if _is_called(outer):
            return True
        case ast.Attribute(attr="get" | "values" | "items", ctx=ast.Load()) if _is_called(outer):
            called = outer.outer
            if called is None or called.outer is None:
                return False
            return _passes_on(called.node, called.outer, names) and _is_no_change(called)
    return False


def _is_no_change(place: _Place) -> bool:
    """Whether what a container within a container is used for leaves it as it is."""
    assert place.outer is not None
    return isinstance(place.outer.node, ast.Assign) or _only_reads(place.node, place.outer)
