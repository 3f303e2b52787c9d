"""A schema as data: what the public YAML says, checked and with refs resolved. Nothing here runs."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["string", "bigint", "int", "smallint", "float", "boolean", "timestamp", "array", "object", "json"]
INTEGERS: dict[str, int] = {"bigint": 63, "int": 31, "smallint": 15}
"""Integer kinds and their bits without the sign."""

MAX_DEPTH = 64
"""Levels of nesting that a schema may declare."""


class Validate(msgspec.Struct, frozen=True, kw_only=True):
    """What a text must be for the record to be of this schema."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ip: Literal["", "ipv4", "ipv6", "any"] = ""
    cidr: Literal["", "ipv4", "ipv6", "any"] = ""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A type and its attributes."""

    kind: Kind
    indicators: tuple[str, ...] = ()
    validate: Validate | None = None
    time_formats: tuple[str, ...] = ()
    is_event_time: bool = False
    is_embedded_json: bool = False
    element: Value | None = None
    """Of an array."""
    fields: tuple[Field, ...] = ()
    """Of an object."""


class Pairs(msgspec.Struct, frozen=True):
    """Turn a list of objects that name a value into an object: `[{name: a, value: 1}]` → `{a: 1}`."""

    key: str
    values: tuple[str, ...]
    """Keys that may hold the value; the first that is there counts."""


class KeyValues(msgspec.Struct, frozen=True):
    """Cut a text such as `src=10.0.0.1 msg=two words` into an object, as CEF and logfmt write it."""

    path: str
    separator: str = ""
    """What stands between two pairs, as in LEEF; else a pair begins at each word with `=` behind it."""


class Copy(msgspec.Struct, frozen=True):
    """Take the value at a dotted path of the event."""

    path: str


class Concat(msgspec.Struct, frozen=True):
    """Join the texts at several paths."""

    paths: tuple[str, ...]
    separator: str = ""


class Split(msgspec.Struct, frozen=True):
    """Take one piece of the text at a path; a negative index counts from the end, None takes all pieces."""

    path: str
    separator: str
    index: int | None


class Mask(msgspec.Struct, frozen=True):
    """Hide the text: by a fixed text, or by its salted SHA-256."""

    kind: Literal["redact", "hash"]
    to: str = "***REDACTED***"
    salt: str = ""


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """What a value should be; one that is not is flagged, and its row kept."""

    values: tuple[str, ...] = ()
    pattern: str = ""
    """RE2, of the whole text."""
    minimum: float | None = None
    maximum: float | None = None
    present_when: tuple[str, tuple[str, ...]] | None = None
    """(name of a sister field, its values): the field should be there exactly when the sister has one of them."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A named value."""

    name: str
    """As in the event and the lake: letters, digits, `_`, `-`."""
    source: str
    """The key in the input: the name before transliteration, or `rename.from`."""
    value: Value
    required: bool = False
    description: str = ""
    expect: Expect | None = None
    pairs: Pairs | None = None
    key_values: KeyValues | None = None
    copy: Copy | None = None
    concat: Concat | None = None
    split: Split | None = None
    mask: Mask | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all text parsers share."""

    empty_values: tuple[str, ...] = ()
    expand_fields: tuple[tuple[str, str], ...] = ()
    trim_space: bool = False
    skip_prefix: str = ""
    skip_lines: int = 0


class FastMatch(msgspec.Struct, frozen=True, tag="fastmatch"):
    """Patterns of literals and `%{field}`, tried in order."""

    match: tuple[str, ...]
    options: TextOptions


class Regex(msgspec.Struct, frozen=True, tag="regex"):
    """One regular expression (RE2) with grok patterns; `groups` are its named groups in order."""

    expression: str
    groups: tuple[str, ...]
    options: TextOptions


class Csv(msgspec.Struct, frozen=True, tag="csv"):
    """Delimited text."""

    delimiter: str
    header: Literal["none", "first", "auto"]
    """`auto`: a line whose cells are all known names is a header; without one, `columns` apply."""
    columns: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    """Names in the header line → names of fields."""
    options: TextOptions


class Script(msgspec.Struct, frozen=True, tag="script"):
    """A Starlark function `parse(log)`."""

    function: str


Parser = FastMatch | Regex | Csv | Script


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """One log type."""

    name: str
    version: int = 0
    description: str = ""
    reference_url: str = ""
    keep_unknown: bool = True
    unroll: str = ""
    """Key of an array of objects, each of which becomes an event together with the rest of the record."""
    lenient: bool = False
    """Whether a value that does not fit its type is set aside instead of refusing the record."""
    parser: Parser | None = None
    """None is JSON."""
    fields: tuple[Field, ...] = ()
    """Empty only for log types known by name alone, which keep every field as it comes."""
    file: str = ""

    @property
    def is_text(self) -> bool:
        """Whether records are lines of text and not JSON objects."""
        return self.parser is not None
