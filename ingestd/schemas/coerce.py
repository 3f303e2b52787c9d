"""Conversions off the hot path: values that are not already of the type that their field declares.

A conversion returns the value to keep, or None when the value counts as absent; it raises `Misfit` when the
record cannot be of the schema.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any

from ingestd.schemas.jsontext import MAX_DEPTH, Literal, NeedLiterals, depth, literal_mode, loads, loads_literal
from ingestd.schemas.memo import Memo

_MAX_EMBEDDED_DEPTH = 50


class Misfit(Exception):
    """The record is not of the schema: which field, and what is wrong with it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}" if self.path else self.why


_CANONICAL = re.compile(r"-?\d+\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}

_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number",
          type(None): "null", Literal: "number"}  # fmt: skip


def kind_of(value: object) -> str:
    """What JSON calls the value."""
    return _NAMES.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """A short form of a scalar for messages; secrets are long, so what is long is not shown."""
    text = repr(value)
    return text if len(text) <= 40 else f"{kind_of(value)} of {len(text)} characters"


def wrong(value: object, wanted: str, path: str) -> Misfit:
    """The misfit of a value of another type."""
    if isinstance(value, (dict, list)):
        return Misfit(path, f"expected {wanted}, found {kind_of(value)}")
    return Misfit(path, f"expected {wanted}, found {shown(value)}")


def text(value: object, path: str) -> str:
    """A number or boolean in a text field keeps its spelling."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value.__class__ is int:
        return str(value)
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, float):
        if literal_mode():  # a copy of a value may have lost its spelling
            return repr(value)
        raise NeedLiterals
    if isinstance(value, str):
        return value
    raise wrong(value, "string", path)


def _integer_text(text: str) -> int | str | None:
    """The integer, `""` for an empty text, None when it is no integer."""
    text = text.strip()
    if not text:
        return ""
    return int(text) if len(text) <= 20 and _CANONICAL.match(text) else None


def _float_text(text: str) -> float | str | None:
    text = text.strip()
    if not text:
        return ""
    if len(text) > 400 or not _FLOAT.match(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


INTS: Memo[int | str | None] = Memo(_integer_text)
FLOATS: Memo[float | str | None] = Memo(_float_text)


def integer(value: object, bits: int, path: str) -> int | None:
    """An integer of `bits` bits and a sign, from a number or its text."""
    number: object = INTS[value] if value.__class__ is str else value
    if number == "":
        return None
    if number.__class__ is not int:
        raise wrong(value, "integer", path)
    if not -(1 << bits) <= number < (1 << bits):
        raise Misfit(path, f"{number} does not fit {bits + 1} bits")
    return number


def number(value: object, path: str) -> float | None:
    """A float, from a number or its text."""
    if value.__class__ is str:
        found = FLOATS[value]
        if found is None:
            raise wrong(value, "number", path)
        return found if isinstance(found, float) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise wrong(value, "number", path)


def boolean(value: object, path: str) -> bool | None:
    """true and false, 1 and 0, and Go's texts for them."""
    if value.__class__ is str:
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        if not value.strip():
            return None
    elif value.__class__ is int and value in (0, 1):
        return value == 1
    raise wrong(value, "boolean", path)


def bad_time(value: object, path: str, formats: tuple[str, ...]) -> Misfit:
    """The misfit of a value that none of the formats reads."""
    return Misfit(path, f"{shown(value)} is not a time of the format {' or '.join(formats)}")


def check_depth(value: object) -> None:
    """Raises Misfit when the value is nested too deeply for what comes after."""
    if depth(value, MAX_DEPTH) > MAX_DEPTH:
        raise Misfit("", f"nested more than {MAX_DEPTH} deep")


def embedded(value: str, kind: type, path: str) -> Any:
    """Decode JSON inside a text. For `kind` dict or list the result must be one; for object anything goes,
    and what is no JSON stays text. None for an empty text."""
    if not value.strip():
        return None
    data = value.encode()
    try:
        decoded = loads(data, _MAX_EMBEDDED_DEPTH)
        if literal_mode():
            decoded = loads_literal(data)
    except ValueError as error:
        if kind is object:
            return value
        raise Misfit(path, f"embedded JSON does not decode: {error}") from error
    if kind is not object and decoded is not None and decoded.__class__ is not kind:
        raise wrong(decoded, "object" if kind is dict else "array", path)
    return decoded


# --- validate -------------------------------------------------------------------------------------------

_Check = Callable[[str], bool]


def _family_check(family: str, make: Callable[[str], Any]) -> _Check:
    def check(text: str) -> bool:
        try:
            made = make(text)
        except ValueError:
            return False
        return family == "any" or made.version == (4 if family == "ipv4" else 6)

    return Memo(check).__getitem__


def address_check(ip: str, cidr: str) -> tuple[_Check, str]:
    """(whether a text is such an address or range, what was wanted, in words). Either of the two suffices."""
    checks: list[_Check] = []
    words: list[str] = []
    if ip:
        checks.append(_family_check(ip, ipaddress.ip_address))
        words.append("IP address" if ip == "any" else f"{ip} address")
    if cidr:
        checks.append(
            _family_check(cidr, lambda text: ipaddress.ip_network(text if "/" in text else "", strict=False))
        )
        words.append("CIDR range" if cidr == "any" else f"{cidr} CIDR range")
    return (lambda text: any(check(text) for check in checks)), " or ".join(words)
