"""Finding a source or destination by its YAML `type`, and importing it only then.

A type is a module of the kind's package that has a `Config`, or an entry point of the group of the same name.
"""

from __future__ import annotations

import difflib
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

Kind = Literal["sources", "destinations"]

_PACKAGES: dict[Kind, str] = {"sources": "ingestd.sources", "destinations": "ingestd.alerts.destinations"}
_STORE_FILES = {"az": "azure_blob", "gs": "gcs"}
"""URL schemes whose file says more plainly what it reads."""


class UnknownType(ValueError):
    """No component has this type; the message lists those that exist."""


def load(kind: Kind, type_name: str) -> ModuleType:
    """Import the module of a component type: it has `Config` and `build`. Raises `UnknownType`."""
    package = _PACKAGES[kind]
    if type_name.isidentifier() and find_spec(f"{package}.{type_name}") is not None:
        module = import_module(f"{package}.{type_name}")
        if hasattr(module, "Config"):
            return module
    for entry in entry_points(group=f"ingestd.{kind}", name=type_name):
        return _plug_in(entry)
    raise UnknownType(_unknown(kind, type_name))


def load_store(name: str) -> ModuleType:
    """Import the module of the store of a URL scheme: it has `build`. Raises `UnknownType`."""
    file = _STORE_FILES.get(name, name)
    if file.isidentifier() and find_spec(f"ingestd.stores.{file}") is not None:
        return import_module(f"ingestd.stores.{file}")
    for entry in entry_points(group="ingestd.stores", name=name):
        module: ModuleType = entry.load()
        return module
    raise UnknownType(f"there is no store {name!r}")


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """All types of a kind, sorted. Imports each built-in one: for error messages, schemas and documentation."""
    package = _PACKAGES[kind]
    found = {entry.name for entry in entry_points(group=f"ingestd.{kind}")}
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if hasattr(import_module(f"{package}.{module.name}"), "Config"):
            found.add(module.name)
    return tuple(sorted(found))


def _plug_in(entry: EntryPoint) -> ModuleType:
    try:
        module = entry.load()
    except Exception as error:  # whatever someone else's module does when it is imported
        raise UnknownType(f"the plug-in {entry.value} cannot be imported: {type(error).__name__}: {error}") from error
    if isinstance(module, ModuleType) and hasattr(module, "Config"):
        return module
    raise UnknownType(f"the plug-in {entry.value} is not a module with a Config")


def _unknown(kind: Kind, type_name: str) -> str:
    known = names(kind)
    close = difflib.get_close_matches(type_name, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    unknown = f"unknown type {type_name!r} of {kind}" if type_name else "`type` is required"
    return f"{unknown}, known are {', '.join(known) or 'none'}{meant}"
