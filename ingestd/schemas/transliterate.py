"""Names of fields as columns: special characters are spelled out."""

from __future__ import annotations

import re

_WORDS = {
    "@": "at_sign",
    ",": "comma",
    "`": "backtick",
    "'": "apostrophe",
    "$": "dollar_sign",
    "*": "asterisk",
    "&": "ampersand",
    "!": "exclamation",
    "%": "percent",
    "+": "plus",
    "/": "slash",
    "\\": "backslash",
    "#": "hash",
    "~": "tilde",
    "=": "eq",
}
_SPECIAL = re.compile("[" + re.escape("".join(_WORDS)) + "]")
_PIECES = re.compile(f"{_SPECIAL.pattern}|[^{_SPECIAL.pattern[1:-1]}]+")


def column_name(name: str) -> str:
    """`@timestamp` → `at_sign_timestamp`. Characters without a word of their own stay: rules read such keys."""
    if _SPECIAL.search(name) is None:
        return name
    return "_".join(_WORDS.get(piece, piece) for piece in _PIECES.findall(name))
