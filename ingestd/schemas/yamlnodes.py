"""YAML 1.2 with places: every value knows its line. Parsed by libyaml.

YAML 1.1's surprises are not taken over: `no`, `on` and `1:30` are texts here, as for other readers of the
public format.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ingestd.errors import ConfigError, Problem

_MAX_VALUES = 200_000  # a file of aliases of aliases ends here, not in swap

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Map(dict[str, Any]):
    """A mapping whose keys know their lines."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def line_of(self, key: str) -> int:
        """Line of the key, or of the mapping when it has no such key."""
        return self.lines.get(key, self.line)


class Seq(list[Any]):
    """A sequence whose items know their lines."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.made = 0

    def build(self, node: Any) -> Any:
        self.made += 1
        if self.made > _MAX_VALUES:
            raise ConfigError([Problem(f"more than {_MAX_VALUES} values", file=self.file, line=1)])
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, line)
        if isinstance(node, yaml.SequenceNode):
            items = Seq(line)
            for item in node.value:
                items.append(self.build(item))
                items.lines.append(item.start_mark.line + 1)
            return items
        return _scalar(node)

    def _mapping(self, node: Any, line: int) -> Map:
        result = Map(line)
        own: set[str] = set()
        for key_node, value_node in node.value:
            at = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem("a key must be a plain word", file=self.file, line=at))
                continue
            key = str(key_node.value)
            value = self.build(value_node)
            if key == "<<" and isinstance(value, Map):
                for name, inherited in value.items():
                    result.setdefault(name, inherited)
                    result.lines.setdefault(name, at)
                continue
            if key in own:
                first = result.lines[key]
                self.problems.append(Problem(f"{key!r} stands twice, first in line {first}", file=self.file, line=at))
            own.add(key)
            result[key] = value
            result.lines[key] = at
        return result


def _scalar(node: Any) -> Any:
    text = node.value
    if node.style in {"'", '"', "|", ">"}:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text) and len(text) < 4000:
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def parse(text: str, file: str) -> list[Any]:
    """The documents of a YAML text. Raises ConfigError with file and line."""
    builder = _Builder(file)
    try:
        documents = [builder.build(node) for node in yaml.compose_all(text, Loader=_Loader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError([Problem(f"not YAML: {error.problem}", file=file, line=line)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(f"not YAML: {error}", file=file, line=1)]) from error
    except RecursionError as error:
        raise ConfigError([Problem("nested too deeply", file=file, line=1)]) from error
    if builder.problems:
        raise ConfigError(builder.problems)
    return documents
