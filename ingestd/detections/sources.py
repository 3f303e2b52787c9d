"""The source of loaded modules, for analysis: what a module's global names are bound to, and whether anyone can
have changed it since."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections import Counter
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

_SCALARS = (str, bytes, int, float, bool, type(None))
_READING_METHODS = frozenset({"get", "items", "keys", "values", "copy", "index", "count", "union", "intersection"})
_READING_BUILTINS = frozenset(
    {"len", "any", "all", "isinstance", "set", "frozenset", "tuple", "list", "sorted", "min", "max", "sum"}
)
_REACHING_EVERYTHING = frozenset({"exec", "eval", "setattr", "delattr", "globals", "vars", "__import__", "importlib"})
_REACHING_ATTRIBUTES = frozenset({"__dict__", "__globals__", "__code__", "__setattr__", "__builtins__"})
_MAX_CONSTANT = 10_000


class Source:
    """One module: its syntax tree, and how each global name is used in it."""

    def __init__(self, module: ModuleType, text: bytes) -> None:
        self.module = module
        self.tree = ast.parse(text, str(module.__file__))
        self.functions: dict[str, ast.FunctionDef] = {}
        self.bindings: Counter[str] = Counter()
        """How many places bind a name."""
        self.mutated: set[str] = set()
        """Names through which a container may be changed."""
        self.reaches_everything = False
        self.only_when_mocked: set[ast.AST] = set()
        """Assignments to a global name that run only while a test has put a mock in its place."""
        self.stored_attributes: set[str] = set()
        """Attributes that the module sets on anything, which may be another module."""
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
            or value.__code__.co_filename != self.module.__file__
            or value.__code__.co_firstlineno != definition.lineno
        ):
            return None
        return definition

    def is_bound_once(self, name: str) -> bool:
        """Whether the module binds the global name in one place only, which runs when it is imported."""
        return self.bindings[name] == 1

    def is_read_only(self, name: str) -> bool:
        """Whether nothing in the module can change the container that the global name stands for."""
        return name not in self.mutated and not self.reaches_everything


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
        return (value,) if all(_is_frozen(item) for item in items) else None

    def keys(self, source: Source, name: str) -> tuple[Any] | None:
        """The keys of a global mapping as a 1-tuple of a set, if they stay what they are now."""
        value: Any = source.module.__dict__.get(name)
        if type(value) is not dict or not source.is_bound_once(name) or name in self._stored:
            return None
        if not self._is_left_alone(value):
            return None
        return (frozenset(value),) if all(_is_frozen(key) for key in value) else None

    def _is_left_alone(self, value: Any) -> bool:
        """Whether no module changes this container, under any of the names that it has."""
        holders = self._holders.get(id(value), [])
        return (
            type(value) in (set, list, dict)
            and len(value) <= _MAX_CONSTANT
            and not self._reached
            and bool(holders)
            and all(holder.is_read_only(held) for holder, held in holders)
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
    """Whether a name in a module is the builtin of that name."""
    return name not in source.module.__dict__ and hasattr(builtins, name)


def _is_frozen(value: Any) -> bool:
    if type(value) in _SCALARS or type(value) is re.Pattern:
        return True
    if type(value) in (tuple, frozenset):
        return len(value) <= _MAX_CONSTANT and all(_is_frozen(item) for item in value)
    return False


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


def _note_uses(source: Source) -> None:
    """Collect where a module binds its global names, and which may be changed through the name. A use is judged by
    the two nodes around it, which a plain visitor does not know."""
    pending: list[tuple[ast.AST, ast.AST, ast.AST]] = [(source.tree, source.tree, source.tree)]
    while pending:
        node, parent, grandparent = pending.pop()
        _note(source, node, parent, grandparent)
        for name in node._fields:
            value = getattr(node, name, None)
            for child in value if type(value) is list else (value,):
                if isinstance(child, ast.AST) and not isinstance(child, _LEAVES):
                    pending.append((child, node, parent))


def _note(source: Source, node: ast.AST, parent: ast.AST, grandparent: ast.AST) -> None:
    match node:
        case ast.Name():
            _note_name(source, node, parent, grandparent)
        case ast.Attribute(attr=attribute, ctx=ast.Store() | ast.Del()):
            source.stored_attributes.add(attribute)
            source.reaches_everything |= attribute in _REACHING_ATTRIBUTES
        case ast.Attribute(attr=attribute):
            source.reaches_everything |= attribute in _REACHING_ATTRIBUTES
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            source.bindings[node.name] += 1
        case ast.alias():
            source.bindings[(node.asname or node.name).partition(".")[0]] += 1
        case ast.Global(names=names):
            mocked = {target.id for target in source.only_when_mocked if isinstance(target, ast.Name)}
            for name in names:
                # Bound from within functions: never constant, unless all those assignments are counted by themselves.
                source.bindings[name] += 0 if name in mocked else 2
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            source.bindings[name] += 1


def _note_name(source: Source, node: ast.Name, parent: ast.AST, grandparent: ast.AST) -> None:
    if node in source.only_when_mocked:
        return
    if not isinstance(node.ctx, ast.Load):
        # A local variable of the same name counts too: the analysis then just knows less.
        source.bindings[node.id] += 1
        if isinstance(node.ctx, ast.Del) or isinstance(parent, ast.AugAssign):
            source.mutated.add(node.id)
        return
    if node.id in _REACHING_EVERYTHING:
        source.reaches_everything = True
    if not _only_reads(node, parent, grandparent):
        source.mutated.add(node.id)


def _only_reads(node: ast.Name, parent: ast.AST, grandparent: ast.AST) -> bool:
    """Whether this use of a name cannot change what it stands for, or let it out of sight."""
    match parent:
        case ast.Compare():
            return True
        case ast.Subscript():
            return parent.value is node and isinstance(parent.ctx, ast.Load)
        case ast.For() | ast.comprehension():
            return parent.iter is node
        case ast.Attribute(attr=attribute, ctx=ast.Load()):
            is_called = isinstance(grandparent, ast.Call) and grandparent.func is parent
            return attribute in _READING_METHODS and is_called
        case ast.Call(func=ast.Name(id=name) as function):
            # No container can be called: that fails, and changes nothing.
            return node is function or name in _READING_BUILTINS
        case ast.UnaryOp():
            return True
        case ast.If() | ast.IfExp():
            return parent.test is node
    return False
