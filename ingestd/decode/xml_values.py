"""One XML element as a JSON object.

Attributes and child elements become fields under their own names, without namespaces; what repeats becomes an array;
text beside them is the field `value`. An element with text alone is that text. Values stay texts: what they mean is
the schema's to say.
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree

import orjson

_MOST_TAGS: Final = 200_000
_MOST_DEPTH: Final = 90
_TEXT: Final = "value"


class Unusable(Exception):
    """The element has no such form: `reason` as in `Damage`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def to_json(document: bytes, *, enclosed: bool, arrays: frozenset[str] = frozenset()) -> bytes:
    """The element in `document` as JSON; with `enclosed`, that is the child of another. Child elements of a
    name in `arrays` are always in an array. Raises Unusable.

    `document` must have no document type: then there are no entities but the five that every text may use.
    """
    if document.count(b"<") > _MOST_TAGS:
        raise Unusable("too_many_values", f"more than {_MOST_TAGS} tags in one element")
    try:
        element = ElementTree.fromstring(document)  # noqa: S314 - no document type comes this far
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise Unusable("invalid_xml", f"not XML: {error}") from error
    if enclosed:
        element = element[0]
    value = _value(element, 0, arrays)
    return orjson.dumps(value if isinstance(value, dict) else {_TEXT: value})


def _value(element: ElementTree.Element, depth: int, arrays: frozenset[str]) -> Any:
    if depth > _MOST_DEPTH:
        raise Unusable("nesting_too_deep", f"elements nested more than {_MOST_DEPTH} deep")
    text = (element.text or "").strip()
    if not element.attrib and not len(element):
        return text
    box: dict[str, Any] = {}
    several: set[str] = set()
    for name, value in element.attrib.items():
        _put(box, several, name.rpartition("}")[2], value)
    for child in element:
        value = _value(child, depth + 1, arrays)
        name = child.tag.rpartition("}")[2]
        if name in arrays and name not in box:
            box[name] = [value]
            several.add(name)
        else:
            _put(box, several, name, value)
        if child.tail and (tail := child.tail.strip()):
            text = f"{text} {tail}" if text else tail
    if text:
        _put(box, several, _TEXT, text)
    return box


def _put(box: dict[str, Any], several: set[str], name: str, value: Any) -> None:
    if name not in box:
        box[name] = value
    elif name in several:
        box[name].append(value)
    else:
        several.add(name)
        box[name] = [box[name], value]
