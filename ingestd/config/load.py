"""Reading the configuration: root file, included files, variables, validation. Everything wrong is told at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ingestd.config import check, components
from ingestd.config.base import BASE_FOLDER
from ingestd.config.document import Document, KeyPath, Place, dotted
from ingestd.config.models import Model, Root
from ingestd.errors import ConfigError, Problem

NAMED = ("sources", "destinations")
"""Sections whose entries may be spread over files, because each has a name of its own."""

MAX_FILES = 1_000
MAX_ROUNDS = 8
"""Validations of what is left after the wrong parts are out; two are usual, one more for each layer of dependence."""


class Loaded:
    """What was found: the configuration as far as it is valid, and everything that is wrong with it."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self.file = file
        self.files: list[Path] = [file]
        self.problems: list[Problem] = []
        self.root = Root.model_validate({})
        self.value: dict[str, Any] = {}
        self.places: dict[KeyPath, Place] = {}
        self._texts: dict[KeyPath, str] = {}
        self._unexpanded: set[KeyPath] = set()
        self._environment = environment

    def problem(self, message: str, path: KeyPath = (), hint: str = "") -> None:
        """Add a mistake at a path; its file and line are those of the nearest value that was written."""
        place = self.place(path)
        self.problems.append(Problem(message, file=place.file, line=place.line, path=dotted(path), hint=hint))

    def place(self, path: KeyPath) -> Place:
        """Where the value at a path stands; for one that was not written, where its parent does."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(str(self.file), 1))

    def located(self, problem: Problem) -> Problem:
        """The problem, with the file and line of the value that its path names unless it has a file of its own."""
        at = next((place for path, place in self.places.items() if dotted(path) == problem.path), None)
        if problem.file or at is None:
            return problem
        return Problem(problem.message, file=at.file, line=at.line, path=problem.path, hint=problem.hint)

    def read(self) -> None:
        """Read the root file and what it includes."""
        self._merge(Document(self.file, self._environment), root=True)
        for file in self._included():
            self.files.append(file)
            self._merge(Document(file, self._environment), root=False)

    def validate(self) -> None:
        """Check against the models. What is wrong is taken out and told, until the rest is valid and can be used."""
        value: dict[str, Any] = self.value
        removed: set[KeyPath] = set()
        for _ in range(MAX_ROUNDS):
            details = self._errors(value)
            if not details:
                return
            if self._as_written(value, details):
                continue
            for detail in details:
                if tuple(detail["loc"]) not in removed:
                    self._explain(detail)
                removed.add(_entry(_existing(value, detail["loc"])))
            value = _without(value, removed)

    def _errors(self, value: dict[str, Any]) -> list[ErrorDetails]:
        try:
            self.root = Root.model_validate(value, context={BASE_FOLDER: self.file.parent})
        except ValidationError as error:
            return error.errors(include_url=False, include_input=False)
        return []

    # --- files

    def _included(self) -> list[Path]:
        patterns = self.value.get("include", list(Root.model_fields["include"].default))
        files: list[Path] = []
        for index, pattern in enumerate(patterns if isinstance(patterns, list) else []):
            if not isinstance(pattern, str):
                continue
            if not any(letter in pattern for letter in "*?["):
                files.append(Path(self.file.parent, pattern))
                continue
            try:
                found = (
                    self.file.parent.glob(pattern) if not Path(pattern).is_absolute() else Path("/").glob(pattern[1:])
                )
                files += sorted(file for file in found if not file.name.startswith(".") and file.is_file())
            except (ValueError, NotImplementedError, IndexError):
                self.problem("not a pattern of files", ("include", index))
        if len(files) > MAX_FILES:
            self.problem(f"{len(files)} files match, more than the {MAX_FILES} that are read", ("include",))
        return [file for file in dict.fromkeys(files[:MAX_FILES]) if file != self.file]

    def _merge(self, document: Document, *, root: bool) -> None:
        self.problems += document.problems
        if document.value is None:
            document.value = {}
        if not isinstance(document.value, dict):
            place = document.places[()]
            self.problems.append(Problem("a mapping is expected here", file=place.file, line=place.line))
            return
        accepted: set[KeyPath] = set()
        for key, value in document.value.items():
            if key == "include" and not root:
                self._refuse(document, (key,), "only the root file can include others")
            elif key in NAMED and isinstance(value, dict) and isinstance(self.value.get(key, {}), dict):
                known = self.value.setdefault(key, {})
                self.places.setdefault((key,), document.places[key,])
                new = {name: entry for name, entry in value.items() if self._first(document, (key, name), known)}
                known.update(new)
                accepted |= {(key, name) for name in new}
            elif self._first(document, (key,), self.value):
                self.value[key] = value
                accepted.add((key,))
        self._adopt(document, accepted)

    def _first(self, document: Document, path: KeyPath, known: dict[str, Any]) -> bool:
        if path[-1] not in known:
            return True
        before = self.places[path]
        self._refuse(document, path, f"already defined at {before.file}:{before.line}")
        return False

    def _refuse(self, document: Document, path: KeyPath, message: str) -> None:
        place = document.places[path]
        self.problems.append(Problem(message, file=place.file, line=place.line, path=dotted(path)))

    def _adopt(self, document: Document, accepted: set[KeyPath]) -> None:
        """Take over what the document knows about the sections and entries that were taken from it."""
        known = [key for key in document.places if key[:1] in accepted or key[:2] in accepted]
        self.places.update((key, document.places[key]) for key in known)
        self._texts.update((key, document.texts[key]) for key in known if key in document.texts)
        self._unexpanded.update(document.unexpanded.intersection(known))

    # --- validation

    def _as_written(self, value: dict[str, Any], details: list[ErrorDetails]) -> bool:
        """Give text fields what was written where YAML saw a number, a boolean or a date; whether there was any."""
        changed = False
        for detail in details:
            path = _existing(value, detail["loc"])
            if detail["type"] in {"string_type", "path_type"} and path in self._texts:
                _set(value, path, self._texts.pop(path))
                changed = True
        return changed

    def _explain(self, detail: ErrorDetails) -> None:
        path = tuple(detail["loc"])
        existing = _existing(self.value, path)
        if existing in self._unexpanded:
            return
        kind = detail["type"]
        if kind == "extra_forbidden":
            self.problem("unknown key", path, _meant(str(path[-1]), _known_keys(path[:-1], self.value)))
        elif kind == "missing":
            self.problem("this key is required", path)
        else:
            message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
            self.problem(message, path if kind == "unknown_type" else existing)


def load(
    file: str | os.PathLike[str],
    *,
    environment: Mapping[str, str] | None = None,
    log_types: Callable[[Root], Collection[str]] | None = None,
) -> Root:
    """The configuration of a root file. Raises `ConfigError` with every problem of every file."""
    loaded = examine(file, environment=environment, log_types=log_types)
    if loaded.problems:
        raise ConfigError(loaded.problems)
    return loaded.root


def examine(
    file: str | os.PathLike[str],
    *,
    environment: Mapping[str, str] | None = None,
    log_types: Callable[[Root], Collection[str]] | None = None,
) -> Loaded:
    """The same, but what is wrong is in `.problems` and `.root` is what is valid.

    `log_types` gives the names of all log types for a configuration, or raises `ConfigError` with what is wrong with
    its schemas; without it, routes are not checked against them.
    """
    loaded = Loaded(Path(file).absolute(), os.environ if environment is None else environment)
    loaded.read()
    loaded.validate()
    if not loaded.value and loaded.problems:
        return loaded
    try:
        for path, message, hint in check.findings(loaded.root, loaded.value, log_types):
            loaded.problem(message, path, hint)
    except ConfigError as error:
        loaded.problems += error.problems
    order = {str(name): index for index, name in enumerate(loaded.files)}
    loaded.problems.sort(key=lambda problem: (order.get(problem.file or "", len(order)), problem.line or 0))
    return loaded


# --- finding one's way in values and models -----------------------------------------------------------------


def _existing(value: Any, loc: tuple[str | int, ...]) -> KeyPath:
    """The part of an error's location that exists in the value; pydantic adds names of validators to it."""
    path: KeyPath = ()
    for part in loc:
        in_mapping = isinstance(value, dict) and part in value
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not in_mapping and not in_list:
            break
        value = value[part]
        path = (*path, part)
    return path


def _set(value: Any, path: KeyPath, new: Any) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = new


def _entry(path: KeyPath) -> KeyPath:
    """The mapping's entry that a path lies in: taking an element out of a list would move its neighbours."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _without(value: Any, paths: Collection[KeyPath]) -> Any:
    """A copy that lacks the entries at the paths; the empty path leaves nothing."""
    if () in paths:
        return {}
    inner: dict[str | int, list[KeyPath]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    if isinstance(value, dict):
        return {
            key: _without(item, inner.get(key, ())) for key, item in value.items() if () not in inner.get(key, ())
        }
    if isinstance(value, list):
        return [_without(item, inner.get(index, ())) for index, item in enumerate(value)]
    return value


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(sorted(known))}" if known else ""


def _known_keys(path: KeyPath, value: Any) -> Collection[str]:
    """The keys that the model at a path knows."""
    annotation: Any = Root
    for depth, part in enumerate(path):
        if depth == 1 and path[0] in NAMED:
            entry = value[path[0]].get(part)
            kind: components.Kind = "sources" if path[0] == "sources" else "destinations"
            annotation = components.load(kind, entry["type"]).Config
        else:
            annotation = _inside(annotation, part)
    model = _strip(annotation)
    return tuple(model.model_fields) if isinstance(model, type) and issubclass(model, Model) else ()


def _strip(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _strip(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return next((_strip(arg) for arg in get_args(annotation) if arg is not type(None)), None)
    return annotation


def _inside(annotation: Any, part: str | int) -> Any:
    annotation = _strip(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field is not None else None
    arguments = get_args(annotation)
    if not arguments:
        return None
    return arguments[1] if get_origin(annotation) is dict else arguments[0]
