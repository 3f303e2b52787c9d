"""rename, pairs, keyValues, copy, concat, split, mask: done on the raw event, in this order, before fields are typed.

Each kind goes over the whole event before the next begins, so that each sees the results of those before it.
Paths are dotted, from the root of the event, with names as they are after renaming; a number picks an item of
an array. Masking comes before typing, so that a masked value never reaches the indicators.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ingestd.schemas import spec
from ingestd.schemas.jsontext import Literal

Box = dict[str, Any]
Step = Callable[[Box, Box], None]
"""`step(root, box)`: change `box`, an object within the event `root`."""


def lookup(root: Any, path: str) -> Any:
    """The value at a dotted path, or None; `$` is the whole event."""
    if path == "$":
        return root
    value = root
    rest = path
    while rest:
        if value.__class__ is dict:
            if rest in value:  # keys may contain dots
                return value[rest]
            head, _, rest = rest.partition(".")
            value = value.get(head)
        elif value.__class__ is list:
            head, _, rest = rest.partition(".")
            value = value[int(head)] if head.isdigit() and int(head) < len(value) else None
        else:
            return None
    return value


def _text(value: Any) -> str | None:
    if value.__class__ is str:
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Literal):
        return value.text
    return str(value) if isinstance(value, (int, float)) else None


def _rename(field: spec.Field) -> Step | None:
    if field.source == field.name:
        return None

    def step(_root: Box, box: Box) -> None:
        if field.source in box:
            box[field.name] = box.pop(field.source)

    return step


def _pairs(field: spec.Field) -> Step | None:
    pairs = field.pairs
    if pairs is None:
        return None
    key, values = pairs.key, pairs.values

    def value_of(item: Box) -> Any:
        for name in values:
            value = item.get(name)
            if value is not None:
                return mapped(value)
        return None

    def mapped(value: Any) -> Any:
        """Lists of pairs at any depth below; depth is bounded where records are decoded."""
        if value.__class__ is list:
            if value and all(item.__class__ is dict and isinstance(item.get(key), str) for item in value):
                return {item[key]: value_of(item) for item in value}
            return [mapped(item) for item in value]
        if value.__class__ is dict:
            return {name: mapped(item) for name, item in value.items()}
        return value

    def step(_root: Box, box: Box) -> None:
        value = box.get(field.name)
        if value.__class__ is list:
            box[field.name] = mapped(value)

    return step


# a key begins the text or follows a space, and its `=` is not escaped
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z0-9_.\-\[\]]+)=")
_ESCAPED = re.compile(r"\\([\\=|nr\"])")
_ESCAPES = {"n": "\n", "r": "\r"}


def key_values(text: str) -> Box:
    """`a=1 b=two words c="x"` as an object of texts; of equal keys the last counts. Linear in the text."""
    found: Box = {}
    matches = list(_KEY.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends, strict=False):
        value = text[match.end() : end].strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if "\\" in value:
            value = _ESCAPED.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), value)
        found[match[1]] = value
    return found


def separated_values(text: str, separator: str) -> Box:
    """`a=1^b=two words^c=3` as an object of texts. A piece without a key belongs to the value before it."""
    found: Box = {}
    key = ""
    for piece in text.split(separator):
        match = _KEY.match(piece)
        if match is not None:
            key = match[1]
            found[key] = piece[match.end() :].strip()
        elif key:
            found[key] += separator + piece
    return found


def _key_values(field: spec.Field) -> Step | None:
    if field.key_values is None:
        return None
    path, separator = field.key_values.path, field.key_values.separator

    def step(root: Box, box: Box) -> None:
        text = lookup(root, path)
        if text.__class__ is str:
            box[field.name] = separated_values(text, separator) if separator else key_values(text)

    return step


def _copy(field: spec.Field) -> Step | None:
    copy = field.copy
    if copy is None:
        return None

    def step(root: Box, box: Box) -> None:
        if box.get(field.name) is not None:  # an event that was normalised before has its copy
            return
        value = lookup(root, copy.path)
        if value.__class__ is dict or value.__class__ is list:
            value = orjson.loads(orjson.dumps(value, default=float))
        if value is not None:
            box[field.name] = value

    return step


def _concat(field: spec.Field) -> Step | None:
    concat = field.concat
    if concat is None:
        return None

    def step(root: Box, box: Box) -> None:
        texts = [_text(lookup(root, path)) for path in concat.paths]
        parts = [text for text in texts if text is not None]
        if len(parts) == len(texts):
            box[field.name] = concat.separator.join(parts)

    return step


def _split(field: spec.Field) -> Step | None:
    split = field.split
    if split is None:
        return None

    def step(root: Box, box: Box) -> None:
        text = _text(lookup(root, split.path))
        if text is None:
            return
        pieces = text.split(split.separator)
        if split.index is None:
            box[field.name] = pieces
        elif -len(pieces) <= split.index < len(pieces):
            box[field.name] = pieces[split.index]

    return step


def _mask(field: spec.Field) -> Step | None:
    mask = field.mask
    if mask is None:
        return None

    def step(_root: Box, box: Box) -> None:
        value = box.get(field.name)
        if value is None:
            return
        if mask.kind == "redact":
            box[field.name] = mask.to
            return
        text = _text(value)
        raw = text.encode() if text is not None else orjson.dumps(value, default=float)
        box[field.name] = hashlib.sha256(mask.salt.encode() + raw).hexdigest()

    return step


_ORDER = (_rename, _pairs, _key_values, _copy, _concat, _split, _mask)


def _boxes(value: Any) -> Iterator[Box]:
    """Objects in a value, through arrays."""
    if value.__class__ is dict:
        yield value
    elif value.__class__ is list:
        for item in value:
            yield from _boxes(item)


def _level(fields: tuple[spec.Field, ...], make: Callable[[spec.Field], Step | None]) -> Step | None:
    """One kind of transformation for the fields of one object and all below."""
    own = [made for field in fields if (made := make(field)) is not None]
    below = []
    for field in fields:
        inner = field.value
        while inner.element is not None:
            inner = inner.element
        deeper = _level(inner.fields, make)
        if deeper is not None:
            below.append((field.name, deeper))
    if not own and not below:
        return None

    def step(root: Box, box: Box) -> None:
        for one in own:
            one(root, box)
        for name, deeper in below:
            for inner in _boxes(box.get(name)):
                deeper(root, inner)

    return step


def preparation(schema: spec.Schema) -> Callable[[Box], None] | None:
    """What to do with a raw event before it is normalised; None when there is nothing to do."""
    steps = [step for make in _ORDER if (step := _level(schema.fields, make)) is not None]
    if not steps:
        return None

    def prepare(event: Box) -> None:
        for step in steps:
            step(event, event)

    return prepare


def unrolled(event: Box, key: str) -> list[Box]:
    """The event once per object in the array at `key`, whose fields come beside (and win over) its own; the
    event itself when there is no such array. No two results share anything that can change."""
    items = event.get(key)
    if items.__class__ is not list or not items or any(item.__class__ is not dict for item in items):
        return [event]
    del event[key]
    if len(items) == 1:
        return [{**event, **items[0]}]
    rest = orjson.dumps(event, default=float)
    return [{**orjson.loads(rest), **item} for item in items]
