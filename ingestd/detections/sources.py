"""The source of loaded modules, for analysis: what a module's global names are bound to, and whether anyone can
have changed it since."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

_SCALARS = (str, bytes, int, float, bool, type(None))
_READING_METHODS = frozenset({"get", "items", "keys", "values", "copy", "index", "count", "union", "intersection"})
_READING_BUILTINS = frozenset(
    {"len", "any", "all", "set", "frozenset", "tuple", "list", "sorted", "min", "max", "sum"}
)
_REACHING_EVERYTHING = frozenset({"exec", "eval", "setattr", "delattr", "globals", "vars", "__import__", "importlib"})
_MAX_CONSTANT = 10_000


class Source:
    """One module: its syntax tree, and how each global name is used in it."""

    def __init__(self, module: ModuleType, text: bytes) -> None:
        self.module = module
        self.tree = ast.parse(text, str(module.__file__))
        self.functions: dict[str, ast.FunctionDef] = {}
        self._bindings: dict[str, int] = {}
        self._mutated: set[str] = set()
        self.reaches_everything = False
        self.stored_attributes: set[str] = set()
        """Attributes that the module sets on anything, which may be another module."""
        for statement in self.tree.body:
            if isinstance(statement, ast.FunctionDef):
                self.functions[statement.name] = statement
        _Uses(self).visit(self.tree)

    def function(self, name: str) -> ast.FunctionDef | None:
        """The one plain definition of a module-level function that the name still stands for."""
        definition = self.functions.get(name)
        value = self.module.__dict__.get(name)
        if (
            definition is None
            or definition.decorator_list
            or self._bindings.get(name) != 1
            or not isinstance(value, FunctionType)
            or value.__code__.co_filename != self.module.__file__
            or value.__code__.co_firstlineno != definition.lineno
        ):
            return None
        return definition

    def is_bound_once(self, name: str) -> bool:
        """Whether the module binds the global name in one place only, which runs when it is imported."""
        return self._bindings.get(name) == 1

    def is_read_only(self, name: str) -> bool:
        """Whether nothing in the module can change the container that the global name stands for."""
        return name not in self._mutated and not self.reaches_everything


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
        self._reached = any(source.reaches_everything for source in self.by_name.values())
        self._stored = set[str]().union(*(source.stored_attributes for source in self.by_name.values()))

    def constant(self, source: Source, name: str) -> tuple[Any] | None:
        """The value of a global name as a 1-tuple, if it is plain data that stays as it is now."""
        if name not in source.module.__dict__:
            return None
        value = source.module.__dict__[name]
        if not source.is_bound_once(name):
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
        if type(value) is not dict or not source.is_bound_once(name) or not self._is_left_alone(value):
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


def is_builtin(source: Source, name: str) -> bool:
    """Whether a name in a module is the builtin of that name."""
    return name not in source.module.__dict__ and hasattr(builtins, name)


def _is_frozen(value: Any) -> bool:
    if type(value) in _SCALARS:
        return True
    if type(value) in (tuple, frozenset):
        return len(value) <= _MAX_CONSTANT and all(_is_frozen(item) for item in value)
    return False


class _Uses(ast.NodeVisitor):
    """Collects, for one module, where global names are bound, and which may be changed through the name."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parents: list[ast.AST] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._bind(node.name)
        elif isinstance(node, ast.alias):
            self._bind((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Global):
            for name in node.names:
                self._bind(name)
                self._bind(name)  # bound from within functions: never constant
        elif isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            self.source.stored_attributes.add(node.attr)
        self.parents.append(node)
        self.generic_visit(node)
        self.parents.pop()

    def _bind(self, name: str) -> None:
        self.source._bindings[name] = self.source._bindings.get(name, 0) + 1

    def _name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            # A local variable of the same name counts too: the analysis then just knows less.
            self._bind(node.id)
            if isinstance(node.ctx, ast.Del) or isinstance(self.parents[-1], ast.AugAssign):
                self.source._mutated.add(node.id)
            return
        if node.id in _REACHING_EVERYTHING:
            self.source.reaches_everything = True
        if not self._only_reads(node):
            self.source._mutated.add(node.id)

    def _only_reads(self, node: ast.Name) -> bool:
        parent = self.parents[-1]
        match parent:
            case ast.Compare():
                return True
            case ast.Subscript():
                return parent.value is node and isinstance(parent.ctx, ast.Load)
            case ast.For() | ast.comprehension():
                return parent.iter is node
            case ast.Attribute(attr=attr, ctx=ast.Load()):
                return attr in _READING_METHODS and self._is_called(parent)
            case ast.Call(func=ast.Name(id=name) as function):
                return node is not function and name in _READING_BUILTINS
            case ast.BoolOp() | ast.UnaryOp() | ast.If() | ast.IfExp():
                return not isinstance(parent, ast.BoolOp | ast.IfExp) or getattr(parent, "test", None) is node
        return False

    def _is_called(self, attribute: ast.Attribute) -> bool:
        call = self.parents[-2] if len(self.parents) > 1 else None
        return isinstance(call, ast.Call) and call.func is attribute
