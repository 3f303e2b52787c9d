"""YAML at libyaml's speed with YAML 1.2's meaning.

Only `true` and `false` are booleans (`yes`, `on` are strings), there are no timestamps, no octal `0644` and no
base-60 `1:30`; a repeated key is an error. Merge keys (`<<`) work, because shared test samples use them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import BaseResolver

MAX_BYTES = 16 * 1024 * 1024
MAX_BRACKETS = 1_000
"""That may be open at once. The parser's time grows with their square, and its stack with their number."""
MAX_VALUES = 1_000_000
"""Of a document that has aliases, written out: a few lines of aliases of aliases can stand for billions."""


class _Resolver(BaseResolver):
    pass


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first))


class _Constructor(SafeConstructor):
    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = len(node.value)
        merges = any(key.tag.endswith(":merge") for key, _ in node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) != written and not merges:
            self._report_repeated(node)
        return mapping

    def _report_repeated(self, node: yaml.MappingNode) -> None:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConstructorError(
                    None, None, f"the key {key!r} is already on line {seen[key]}", key_node.start_mark
                )
            seen[key] = line


_Constructor.yaml_constructors = {
    **SafeConstructor.yaml_constructors,
    "tag:yaml.org,2002:int": _Constructor.construct_yaml_int,
}


class _Loader(CParser, _Constructor, _Resolver):
    def __init__(self, stream: bytes) -> None:
        CParser.__init__(self, stream)
        _Constructor.__init__(self)
        _Resolver.__init__(self)


class YamlError(ValueError):
    """The text is not YAML. `line` counts from 1."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


_BRACKETS = re.compile(rb"[\[\]{}]")


def load(text: bytes) -> Any:
    """The one document in `text`; None if it is empty."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB", None)
    _check_brackets(text)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if b"&" in text and b"*" in text:
            _written_out(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or error.context), mark.line + 1 if mark else None) from None
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(str(error), None) from None


def _check_brackets(text: bytes) -> None:
    """Those in texts and comments are counted too: nobody has so many of them that are not closed again."""
    if text.count(b"[") + text.count(b"{") <= MAX_BRACKETS:
        return
    is_open = 0
    for found in _BRACKETS.finditer(text):
        is_open += 1 if found[0] in b"[{" else -1
        if is_open > MAX_BRACKETS:
            line = text.count(b"\n", 0, found.start()) + 1
            raise YamlError(f"more than {MAX_BRACKETS:,} brackets are open here", line)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node has with each alias in the place of what it stands for; YamlError for too many."""
    size = known.get(id(node))
    if size is None:
        known[id(node)] = MAX_VALUES  # for whoever meets it below itself
        size = 1
        if isinstance(node, yaml.MappingNode):
            size += sum(_written_out(part, known) for pair in node.value for part in pair)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(_written_out(part, known) for part in node.value)
        if size > MAX_VALUES:
            problem = f"aliases stand for more than {MAX_VALUES:,} values, or for what holds them"
            raise YamlError(problem, node.start_mark.line + 1)
        known[id(node)] = size
    return size


@lru_cache(maxsize=1)
def _root(text: bytes) -> yaml.Node | None:
    """The last one asked for is kept: several messages about one file come after each other."""
    try:
        return _Loader(text).get_single_node()
    except yaml.YAMLError:
        return None


def lines_of(text: bytes, key: str) -> list[int]:
    """Lines, from 1, of the elements of the list under a top-level key."""
    node = _root(text)
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == key and isinstance(value, yaml.SequenceNode):
            return [element.start_mark.line + 1 for element in value.value]
    return []


def line_of(text: bytes, path: tuple[str | int, ...]) -> int:
    """Line, from 1, of what lies at `path`, or of the innermost part of it that exists. Parses again: for
    messages only."""
    node = _root(text)
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(step)]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return int(line)
