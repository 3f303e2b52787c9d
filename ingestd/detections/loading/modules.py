"""Loading rule authors' Python: detections as private modules, global helpers by name.

Nothing is written beside the authors' files (no `__pycache__`), and a file is compiled from what was read
once. Module code runs here, whatever it does: any exception becomes a `CodeError` with file and line.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from ingestd.detections.failure import innermost_line, shown
from ingestd.detections.loading import patience, staying, textfile
from ingestd.errors import Problem, RuleTimeout

_NAMESPACE = vars(ModuleType)["__dict__"].__get__
_OPTIONAL = {"boto3": "rules", "botocore": "rules", "policyuniverse": "rules", "pycountry": "rules"}


class CodeError(Exception):
    """A file of Python could not be loaded. `helper` is the name of the global helper that is at fault."""

    def __init__(self, problem: Problem, helper: str | None = None) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.helper = helper


class _HelperError(ImportError):
    """Importing this helper has failed before; `name` says which."""


class Helpers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the global helpers by their GlobalID. Asked last, so that a helper never hides a real module."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = dict(files)
        self.failed: dict[str, CodeError] = {}
        self.loaded: dict[str, ModuleType] = {}

    def install(self) -> None:
        """Answer imports from now on, instead of any helpers installed before."""
        for finder in [finder for finder in sys.meta_path if isinstance(finder, Helpers)]:
            finder.uninstall()
        sys.meta_path.append(self)

    def uninstall(self) -> None:
        """Stop answering, and forget the modules that came from here."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name, module in self.loaded.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the import protocol."""
        file = self.files.get(fullname)
        if file is None:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(file))

    def exec_module(self, module: ModuleType) -> None:
        """Part of the import protocol: runs the helper, once even if it fails."""
        name = module.__name__
        file = self.files[name]
        earlier = self.failed.get(name)
        if earlier is not None:
            raise _HelperError(str(earlier), name=earlier.helper or name)
        module.__file__ = str(file)
        try:
            _execute(module, file)
        except CodeError as error:
            self.failed[name] = error
            raise _HelperError(str(error), name=error.helper or name) from None
        self.loaded[name] = module

    def load(self, name: str) -> ModuleType:
        """Import one helper now; CodeError if it does not import."""
        try:
            return importlib.import_module(name)
        except _HelperError as error:
            raise self.failed[error.name or name] from None


def load_file(name: str, file: Path) -> ModuleType:
    """A new module of `file`'s code, registered as `name` (which is no importable name); CodeError if it
    fails."""
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses and pickle look the module up by name
    try:
        _execute(module, file)
    except CodeError:
        del sys.modules[name]
        raise
    return module


def defined(module: ModuleType, name: str) -> Any:
    """What the module's code has put under a name, None if nothing; does not run a `__getattr__` of the module's."""
    return _NAMESPACE(module).get(name)


def text_of(module: ModuleType) -> bytes:
    """What a module that came from here was compiled from. Its file may be another by now."""
    return _texts[module]


_texts: WeakKeyDictionary[ModuleType, bytes] = WeakKeyDictionary()


def _execute(module: ModuleType, file: Path) -> None:
    text = _read(file)
    code = _compile(text, file)
    try:
        with patience.limited(file), staying.in_process():
            exec(code, module.__dict__)  # noqa: S102 - running rule authors' code is what this is for
        if type(module) is not ModuleType:
            object.__setattr__(
                module, "__class__", ModuleType
            )  # whoever looks through sys.modules would ask its code
        _NAMESPACE(module)["__file__"] = str(file)  # whatever the code says of itself
        _texts[module] = text
    except _HelperError as error:
        line = innermost_line(error, str(file))
        problem = Problem(f"cannot import the helper {error.name!r}", file=str(file), line=line)
        raise CodeError(problem, helper=error.name) from None
    except BaseException as error:  # noqa: BLE001 - SystemExit and worse must not end the load either
        raise CodeError(_import_problem(error, file)) from None


def _read(file: Path) -> bytes:
    try:
        return textfile.read(file)
    except OSError as error:
        raise CodeError(Problem(f"cannot be read: {error.strerror}", file=str(file))) from None


def _compile(text: bytes, file: Path) -> CodeType:
    try:
        return compile(text, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CodeError(Problem(f"syntax error: {error.msg}", file=str(file), line=error.lineno)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise CodeError(Problem(f"cannot be compiled: {error}", file=str(file))) from None


def _import_problem(error: BaseException, file: Path) -> Problem:
    line = innermost_line(error, str(file))
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = _OPTIONAL.get(error.name.partition(".")[0])
        hint = f"install ingestd[{extra}]" if extra else "neither an installed module nor a GlobalID"
        return Problem(f"cannot import {error.name!r}", file=str(file), line=line, hint=hint)
    if isinstance(error, RuleTimeout):
        return Problem(f"its import {error}", file=str(file), line=line)
    return Problem(f"fails on import: {shown(error)}", file=str(file), line=line)
