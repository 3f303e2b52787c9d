"""Data models: the names under which fields of different log types are the same thing (`event.udm`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ingestd.detections.event import PantherError, Unanswered
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict
from ingestd.detections.loading.items import Item
from ingestd.detections.loading.modules import defined
from ingestd.errors import Problem

Method = Callable[[ImmutableCaseInsensitiveDict], Any]
_DOTTED = re.compile(r"(?:\$\.)?([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)")


class Path:
    """One JSONPath. Case-sensitive; a null at its end is a match, one on the way is not."""

    __slots__ = ("_find", "_keys", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError when `text` is no JSONPath."""
        self.text = text
        dotted = _DOTTED.fullmatch(text)
        self._keys = dotted[1].split(".") if dotted else None
        self._find = None if dotted else _compile(text)

    @property
    def is_dotted(self) -> bool:
        """Whether it is a plain sequence of keys, which cannot match twice."""
        return self._keys is not None

    def match(self, event: dict[str, Any]) -> tuple[str, Any] | None:
        """Full path and plain value of the one match; None if there is none, PantherError if there are several."""
        if self._keys is None:
            return self._match_general(event)
        here: Any = event
        for key in self._keys:
            if not isinstance(here, dict) or key not in here:
                return None
            here = here[key]
        return ".".join(self._keys), here

    def _match_general(self, event: dict[str, Any]) -> tuple[str, Any] | None:
        assert self._find is not None
        found = self._find(event)
        if not found:
            return None
        if len(found) > 1:
            raise PantherError(f"JSONPath [{self.text}] has {len(found)} matches; a data model's path must have one")
        return str(found[0].full_path), found[0].value


def _compile(text: str) -> Callable[[Any], list[Any]]:
    from jsonpath_ng.ext.parser import parse  # rare, and slow to import

    try:
        find: Callable[[Any], list[Any]] = parse(text).find
    except Exception as error:  # noqa: BLE001 - its lexer and parser raise classes of their own
        raise ValueError(f"not a JSONPath: {error}") from None
    return find


class DataModel:
    """The mappings of one data model: name to a path, or to a method of its Python file."""

    def __init__(self, model_id: str, log_types: tuple[str, ...]) -> None:
        self.id = model_id
        self.log_types = log_types
        self.paths: dict[str, Path] = {}
        self.methods: dict[str, Method] = {}

    def value(self, event: ImmutableCaseInsensitiveDict, name: str) -> Any:
        """The value of `name`; `Unanswered` when its path leads nowhere, `Absent` when it is not mapped."""
        path = self.paths.get(name)
        match = path.match(event._container) if path else None
        if match:
            return match[1]
        method = self.methods.get(name)
        if method:
            return method(event)
        return Unanswered if path else Absent

    def never_fails(self, name: str) -> bool:
        """Whether asking for `name` runs no author's code and meets at most one match."""
        return name not in self.methods and (name not in self.paths or self.paths[name].is_dotted)

    def path(self, event: ImmutableCaseInsensitiveDict, name: str) -> str | None:
        """Where `name` comes from."""
        path = self.paths.get(name)
        match = path.match(event._container) if path else None
        if match:
            return match[0]
        method = self.methods.get(name)
        return method.__name__ if method else None


def build(item: Item, module: ModuleType | None, report: Callable[[Problem], None]) -> DataModel:
    """The data model that `item` describes, with the methods of its `module`."""
    model = DataModel(item.id, tuple(str(name) for name in item.data.get("LogTypes") or ()))
    for index, mapping in enumerate(item.data.get("Mappings") or ()):
        if not isinstance(mapping, dict):
            report(item.problem("must be a mapping of Name and Path or Method", "Mappings", index))
            continue
        keys = {str(key).lower(): value for key, value in mapping.items()}
        name, path, method = (keys.get(key) for key in ("name", "path", "method"))
        if not isinstance(name, str) or not (path or method):
            report(item.problem("needs Name, and Path or Method", "Mappings", index))
            continue
        if path:
            try:
                model.paths[name] = Path(str(path))
            except ValueError as error:
                report(item.problem(f"Path {path!r} is {error}", "Mappings", index))
        if method:
            function = None if module is None else defined(module, str(method))
            if callable(function):
                model.methods[name] = function
            else:
                where = item.data.get("Filename") or "no Filename is given"
                report(item.problem(f"Method {method!r} does not exist ({where})", "Mappings", index))
    return model
