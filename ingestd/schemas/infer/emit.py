"""Fields as the YAML of a schema, with comments where a reader should look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ingestd.schemas.infer import names
from ingestd.schemas.infer.decide import Field

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_WORDS = names.word_set("true false null yes no on off y n")
LOW = 0.75
"""Confidence below which a comment asks to look."""


def quoted(text: str) -> str:
    """A YAML scalar of the text, whatever is in it."""
    if _PLAIN.match(text) and text.lower() not in _WORDS:
        return text
    if all(" " <= char <= "~" for char in text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def comment(text: str) -> str:
    """The text as one line that cannot leave its comment."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:160]


def scalar(value: Any) -> str:
    """A value in flow style."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {scalar(item)}" for key, item in value.items()) + "}"
    return str(value) if isinstance(value, (int, float)) else quoted(str(value))


def _remark(field: Field) -> str:
    notes = list(field.notes)
    if field.confidence < LOW:
        seen = f"seen {field.seen} times" if field.seen < 10 else f"confidence {field.confidence:.0%}"
        notes.append(f"check: {seen}")
    return f"  # {comment('; '.join(notes))}" if notes else ""


def _value(field: Field, indent: str) -> Iterator[str]:
    """Lines of type and attributes."""
    yield f"{indent}type: {field.type}{_remark(field)}"
    for key, value in field.attributes.items():
        yield f"{indent}{key}: {scalar(value)}"
    if field.element is not None:
        yield f"{indent}element:"
        yield from _value(field.element, indent + "  ")
    if field.fields:
        yield f"{indent}fields:"
        yield from field_lines(field.fields, indent + "  ")


def field_lines(fields: list[Field], indent: str = "  ") -> Iterator[str]:
    """The items below `fields:`; those without inner fields take one line each."""
    for field in fields:
        if field.element is None and not field.fields:
            parts = {"name": field.name, "type": field.type, **field.attributes}
            yield f"{indent}- {scalar(parts)}{_remark(field)}"
        else:
            yield f"{indent}- name: {quoted(field.name)}"
            yield from _value(field, indent + "  ")


def document(
    name: str, fields: list[Field], *, parser: dict[str, Any] | None, lenient: bool, head: list[str], description: str
) -> str:
    """The whole schema."""
    lines = [*(f"# {comment(line)}" for line in head), f"schema: {name}", "version: 0"]
    lines.append(f"description: {quoted(description)}")
    if lenient:
        lines.append("lenient: true  # a few values are of another kind: they are set aside, their records stay")
    if parser is not None:
        ((kind, options),) = parser.items()
        lines += ["parser:", f"  {kind}:"]
        for key, value in options.items():
            if key == "match":
                lines += ["    match:", *(f"      - {quoted(part)}" for part in value)]
            else:
                lines.append(f"    {key}: {scalar(value)}")
    lines += ["fields:", *field_lines(fields)]
    return "\n".join(lines) + "\n"
