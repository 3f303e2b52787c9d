"""One YAML file as plain values, with the line of each.

YAML 1.2. Duplicate keys, custom tags and merge keys are problems; size, nesting and what aliases expand to are
bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from ingestd.config.expand import expand
from ingestd.errors import Problem

MAX_FILE_BYTES = 1_048_576
MAX_VALUES = 100_000
"""Values in one file after aliases are followed: nine lines of aliases can otherwise mean a thousand million."""

KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where a value stands."""

    file: str
    line: int


class Document:
    """What one file says. `problems` is everything wrong with it as YAML; `value` is the rest, perhaps partial."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self.file = str(file)
        self.problems: list[Problem] = []
        self.places: dict[KeyPath, Place] = {}
        self.texts: dict[KeyPath, str] = {}
        """What was written, for scalars that YAML takes for something other than text: `0123`, `no`, `2024-01-01`."""
        self.unexpanded: set[KeyPath] = set()
        """Scalars whose variables could not be filled in; they hold their original text."""
        self._environment = environment
        self._values = 0
        self._yaml = YAML(typ="safe", pure=True)
        self._open: list[Node] = []
        root = self._compose(file)
        self.value: Any = self._read(root, ()) if root is not None else {}

    def _compose(self, file: Path) -> Node | None:
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                self._problem(1, f"larger than {MAX_FILE_BYTES} bytes, which no configuration is")
                return None
            node: Node | None = self._yaml.compose(data.decode("utf-8-sig"))
        except OSError as error:
            self.problems.append(Problem(f"cannot be read: {error.strerror}", file=self.file))
        except UnicodeDecodeError as error:
            self.problems.append(Problem(f"not UTF-8 text at byte {error.start}", file=self.file))
        except RecursionError:
            self._problem(1, "nested too deep")
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            written = data.splitlines()[line - 1 : line]
            hint = 'inside { } or [ ] a variable needs quotes: "${VAR}"' if written and b"${" in written[0] else ""
            self._problem(line, f"not valid YAML: {error.problem or error.context}", hint=hint)
        except YAMLError as error:
            self._problem(1, f"not valid YAML: {str(error).splitlines()[0]}")
        else:
            return node
        return None

    def _problem(self, line: int, message: str, path: KeyPath = (), hint: str = "") -> None:
        self.problems.append(Problem(message, file=self.file, line=line, path=dotted(path), hint=hint))

    def _read(self, node: Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.places.setdefault(path, Place(self.file, line))
        self._values += 1
        if self._values > MAX_VALUES or any(node is outer for outer in self._open):
            if self._values <= MAX_VALUES + 1:
                self._problem(line, "aliases expand to too much, or to themselves", path)
                self._values = MAX_VALUES + 1
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, line)
        self._open.append(node)
        value = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        self._open.pop()
        return value

    def _sequence(self, node: Node, path: KeyPath) -> list[Any]:
        return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._problem(line, "a key must be plain text", path)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in mapping:
                self._problem(line, f"the key stands twice, first at line {self.places[here].line}", here)
                continue
            if key == "<<":
                self._problem(line, "merge keys are not part of YAML 1.2", path, "write the keys out")
                continue
            self.places[here] = Place(self.file, line)
            mapping[key] = self._read(value_node, here)
        return mapping

    def _scalar(self, node: ScalarNode, path: KeyPath, line: int) -> Any:
        text = str(node.value)
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if kind not in {"str", "int", "float", "bool", "null", "timestamp"}:
            self._problem(line, f"the tag {node.tag} is not understood here", path)
            return text
        if kind == "str":
            return self._expanded(text, path, line)
        if kind == "null":
            return None
        self.texts[path] = text
        return _typed(kind, text)

    def _expanded(self, text: str, path: KeyPath, line: int) -> str:
        try:
            return expand(text, self._environment)
        except ValueError as error:
            self._problem(line, str(error), path)
            self.unexpanded.add(path)
            return text


def _typed(kind: str, text: str) -> Any:
    plain = text.replace("_", "")
    try:
        if kind == "int":
            return int(plain, 0) if plain.lstrip("+-")[:2].lower() in {"0x", "0o", "0b"} else int(plain)
        if kind == "float":
            return float(plain.replace(".inf", "inf").replace(".nan", "nan").lower())
    except ValueError:
        return text
    return text.lower() == "true" if kind == "bool" else text


def dotted(path: KeyPath) -> str:
    """`sources.trail.routes[0].prefix`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out
