"""YAML at libyaml's speed with YAML 1.2's meaning.

Only `true` and `false` are booleans (`yes`, `on` are strings), there are no timestamps, no octal `0644` and no
base-60 `1:30`; a repeated key is an error. Merge keys (`<<`) work, because shared test samples use them.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import BaseResolver

MAX_BYTES = 16 * 1024 * 1024


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


def load(text: bytes) -> Any:
    """The one document in `text`; None if it is empty."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB", None)
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem or error.context), mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(str(error), None) from None


def lines_of(text: bytes, key: str) -> list[int]:
    """Lines, from 1, of the elements of the list under a top-level key."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError:
        return []
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == key and isinstance(value, yaml.SequenceNode):
            return [element.start_mark.line + 1 for element in value.value]
    return []


def line_of(text: bytes, path: tuple[str | int, ...]) -> int:
    """Line, from 1, of what lies at `path`, or of the innermost part of it that exists. Parses again: for
    messages only."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError:
        return 1
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
