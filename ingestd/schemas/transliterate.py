"""Names of fields as columns: characters other than letters, digits, `_` and `-` are spelled out."""

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
_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
_PIECES = re.compile(r"[A-Za-z0-9_-]+|.", re.DOTALL)


def is_plain(name: str) -> bool:
    """Whether `name` is a column name as it stands."""
    return _PLAIN.match(name) is not None


def column_name(name: str) -> str:
    """`@timestamp` → `at_sign_timestamp`; a character without a word of its own separates, as `_`."""
    if _PLAIN.match(name):
        return name
    words = (_WORDS.get(piece, piece) for piece in _PIECES.findall(name))
    return "_".join(word for word in words if _PLAIN.match(word)) or "_"
