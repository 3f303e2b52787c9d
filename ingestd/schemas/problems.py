"""The mistakes of one schema file, as they are found: each with its line and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ingestd.errors import Problem
from ingestd.schemas.yamlnodes import Map, Seq


class Problems:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, line: int, path: str, message: str, hint: str = "") -> None:
        """One mistake."""
        self.found.append(Problem(message, file=self.file, line=line, path=path, hint=hint))

    def unknown_keys(self, node: Map, known: Iterable[str], path: str) -> None:
        """A problem for each key of `node` that is not in `known`."""
        names = list(known)
        for key in node:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
                self.add(node.line_of(key), path, f"unknown key {key!r}", hint)

    def text(self, node: Map, key: str, path: str, default: str = "") -> str:
        """A text at `key`; numbers and booleans that YAML made of one are taken back."""
        value = node.get(key)
        if value is None:
            return default
        if isinstance(value, (Map, Seq)):
            self.add(node.line_of(key), path, f"{key} must be a text")
            return default
        return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)

    def flag(self, node: Map, key: str, path: str, *, default: bool = False) -> bool:
        """true or false at `key`."""
        value = node.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add(node.line_of(key), path, f"{key} must be true or false, not {value!r}")
            return default
        return value

    def integer(self, node: Map, key: str, path: str, default: int = 0) -> int:
        """A whole number at `key`."""
        value = node.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.add(node.line_of(key), path, f"{key} must be a whole number, not {value!r}")
            return default
        return value

    def texts(self, node: Map, key: str, path: str) -> tuple[str, ...]:
        """A list of texts at `key`; a single text counts as a list of one."""
        value = node.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, Seq) else [value]
        if any(isinstance(item, (Map, Seq)) for item in items):
            self.add(node.line_of(key), path, f"{key} must be a list of texts")
            return ()
        return tuple("" if item is None else item if isinstance(item, str) else str(item) for item in items)

    def mapping(self, node: Map, key: str, path: str) -> Map | None:
        """A mapping at `key`, or None."""
        value = node.get(key)
        if value is None or isinstance(value, Map):
            return value
        self.add(node.line_of(key), path, f"{key} must be a mapping")
        return None
