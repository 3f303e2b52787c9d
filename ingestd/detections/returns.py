"""What a detection's functions may return, and what is made of it: types, limits, plain values.

A value that a rule returns is the rule's own object, perhaps of a class with methods of its own. What leaves
this module is plain: exact strings that can be encoded, and JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json import JSONEncoder
from math import isfinite
from typing import Any

import orjson

from ingestd.detections import hiding
from ingestd.detections.immutable import ImmutableCaseInsensitiveDict, ImmutableList
from ingestd.model import SEVERITIES, Severity

MAX_TEXT = 1000
MAX_CONTEXT = 204_800
MAX_DEPTH = 254
"""Of a context: as deep as all who read JSON can follow."""
MAX_DESTINATIONS = 10
_ELLIPSIS = "... (truncated)"
_class_name = type.__dict__["__name__"].__get__


class FunctionReturnTypeError(TypeError):
    """A detection's function returned something of the wrong type."""

    def __init__(self, detection_id: str, function: str, value: object, expected: str) -> None:
        super().__init__(
            f"detection [{detection_id}] function [{function}] returned [{class_name(value)}], expected {expected}"
        )


class UnknownDestinationError(Exception):
    """A detection named a destination that does not exist."""


def class_name(value: object) -> str:
    """Name of the value's class, not asking the class, which may answer anything."""
    return plain(_class_name(type(value)))


def plain(text: str) -> str:
    """`text` as an exact, encodable string without the secrets that this process was given."""
    exact = text if type(text) is str else str.__str__(text)
    if hiding.hidden:
        exact = hiding.hide(exact)
    if exact.isascii():
        return exact
    try:
        exact.encode()
    except UnicodeEncodeError:
        exact = exact.encode("utf-8", "backslashreplace").decode()
    return exact


def limited(text: str, limit: int = MAX_TEXT) -> str:
    """`text`, plain, cut to `limit` characters with a mark at the end."""
    exact = plain(text)
    return exact if len(exact) <= limit else exact[: limit - len(_ELLIPSIS)] + _ELLIPSIS


def verdict(detection_id: str, function: str, value: object) -> bool:
    """What `rule` or `policy` said: exactly True or False, else FunctionReturnTypeError."""
    if value is True:
        return True
    if value is False:
        return False
    raise FunctionReturnTypeError(detection_id, function, value, "[bool]")


def text(detection_id: str, function: str, value: object) -> str:
    """A string, within the limit, else FunctionReturnTypeError."""
    if type(value) is str and len(value) <= MAX_TEXT and value.isascii() and not hiding.hidden:
        return value  # as nearly all are
    if not isinstance(value, str):
        raise FunctionReturnTypeError(detection_id, function, value, "[str]")
    return limited(value)


def severity(detection_id: str, value: object, default: Severity) -> Severity:
    """One of the five severities in any case; DEFAULT is `default`; else an error."""
    name = text(detection_id, "severity", value).upper()
    if name == "DEFAULT":
        return default
    if name not in SEVERITIES:
        raise ValueError(f"expected severity to be any of the following: {', '.join(SEVERITIES)}, got {name!r}")
    return name


def destinations(detection_id: str, value: object) -> tuple[str, ...] | None:
    """Names of destinations; None is default routing, an empty list is nobody. Repeated names are an error."""
    if value is None:
        return None
    if not isinstance(value, list | ImmutableList) or not all(isinstance(item, str | bool) for item in value):
        raise FunctionReturnTypeError(detection_id, "destinations", value, "a list")
    if not value:
        return ("SKIP",)
    names = tuple(limited(item) if isinstance(item, str) else str(item) for item in value)[:MAX_DESTINATIONS]
    if len(set(names)) < len(names):
        raise UnknownDestinationError(f"detection [{detection_id}] repeats a destination: {', '.join(names)}")
    return names


def context(detection_id: str, value: object) -> str:
    """alert_context as ASCII JSON text that all can read: half a surrogate pair becomes U+FFFD. What is no JSON,
    and what is too big, becomes `{"_error": …}`; a value that is no mapping is FunctionReturnTypeError."""
    if not isinstance(value, Mapping):
        raise FunctionReturnTypeError(detection_id, "alert_context", value, "[Mapping]")
    plain_dict = value if type(value) is dict else dict(value)
    encoded = _encoded_fast(plain_dict) or _encoded(plain_dict)
    if hiding.hidden:
        encoded = hiding.hide(encoded)
    if len(encoded) > MAX_CONTEXT:
        return context_error(
            f"alert_context size is [{len(encoded)}] characters, bigger than maximum of [{MAX_CONTEXT}] characters"
        )
    return encoded


def context_error(message: str) -> str:
    """What stands in for a context that could not be made."""
    return _ENCODER.encode({"_error": limited(message)})


def _unwrap(value: object) -> Any:
    if isinstance(value, ImmutableCaseInsensitiveDict | ImmutableList):
        return value._container
    raise TypeError(f"Object of type {class_name(value)} is not JSON serializable")


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def _encoded_fast(value: dict[Any, Any]) -> str | None:
    """What nearly every context becomes. None where only the slow way knows what is right: for what is no JSON, not
    ASCII, or perhaps too long."""
    try:
        if not _is_json(value):
            return None
        encoded = orjson.dumps(value, _unwrap, _OPTIONS)
    except (orjson.JSONEncodeError, RecursionError):
        return None
    return encoded.decode() if encoded.isascii() and 2 * len(encoded) <= MAX_CONTEXT else None


def _is_json(value: object) -> bool:
    """Whether a value that a rule has made is JSON; what a view shows is."""
    kind = type(value)
    if kind in _AS_THEY_ARE or isinstance(value, ImmutableCaseInsensitiveDict | ImmutableList):
        return True
    if kind is dict:
        assert isinstance(value, dict)
        return all(type(key) is str and (type(item) in _AS_THEY_ARE or _is_json(item)) for key, item in value.items())
    if kind is list or kind is tuple:
        assert isinstance(value, list | tuple)
        return all(map(_is_json, value))
    return kind is float and isinstance(value, float) and isfinite(value)


_ESCAPED = re.compile(r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(ud[89a-f][0-9a-f]{2})|.)")
"""A pair, half a pair (1), or another escape, in JSON as our encoder writes it."""


def _encoded(value: dict[Any, Any]) -> str:
    encoded = _ESCAPED.sub(_whole, _ENCODER.encode(value))
    if encoded.count("[") + encoded.count("{") > MAX_DEPTH:
        try:
            orjson.dumps(orjson.loads(encoded))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            raise ValueError(f"alert_context is nested more than {MAX_DEPTH} deep") from None
    return encoded


def _whole(escape: re.Match[str]) -> str:
    return "\\ufffd" if escape[1] else escape[0]


_ENCODER = JSONEncoder(allow_nan=False, default=_unwrap)
