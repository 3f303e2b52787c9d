"""Finding where JSON values end, without decoding them.

`probe` asks msgspec, which checks the grammar at about 2 GB/s but starts over each time. `Scan` is ten times slower
and looks at strings and brackets only, but it can be interrupted anywhere: it is for values that are not kept.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec

_UP_TO_BRACKET: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING_REST: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)

QUOTE, BACKSLASH, COMMA, COLON = b'"\\,:'
OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = b"{}[]"
WHITESPACE: Final = b" \t\r\n"

_decode: Final = msgspec.json.Decoder(msgspec.Raw).decode
_TRAILING: Final = "trailing characters"
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")


class Found(Enum):
    """What `probe` found at the place where it looked."""

    WHOLE = "the value fills what was given"
    MORE = "the value ends, and something other than whitespace follows"
    CUT = "the value does not end in what was given"
    BAD = "this is not JSON"
    DEEP = "nested deeper than can be looked at"


def error_position(error: Exception) -> int | None:
    """Where msgspec found the first byte that cannot stand there; None when the data ended too early, or was too
    deep. It tells by its message only, and of trailing characters the place behind: tests hold the forms fast."""
    message = str(error)
    at = _AT_BYTE.search(message)
    return None if at is None else int(at[1]) - (_TRAILING in message)


def probe(data: bytes, start: int) -> tuple[Found, int]:
    """Looks at the value that begins at `start`. The position is where it ends, whitespace after it included
    (`WHOLE`, `MORE`), or where the first wrong byte is (`BAD`); otherwise it is the end of `data`."""
    try:
        _decode(memoryview(data)[start:])
    except msgspec.DecodeError as error:
        at = error_position(error)
        if at is None or start + at >= len(data):  # a number that ends too early counts as wrong there
            return Found.CUT, len(data)
        return (Found.MORE if _TRAILING in str(error) else Found.BAD), start + at
    except RecursionError:
        return Found.DEEP, len(data)
    return Found.WHOLE, len(data)


class Scan:
    """Looks for the end of the value it was begun on, in as many parts as it comes in.

    `in_string` may be set to begin within a string. Whether the value is JSON is not looked at.
    """

    __slots__ = ("deepest", "depth", "in_string")

    def __init__(self, *, in_string: bool = False) -> None:
        self.depth = 0
        self.deepest = 0
        self.in_string = in_string

    def run(self, data: bytes, at: int, end: int | None = None) -> tuple[bool, int]:
        """Goes on at `at`. Returns whether the value has ended, and the position after what was looked at, from
        which to go on: before the end of `data` only for a backslash whose other half is missing."""
        size = len(data) if end is None else min(end, len(data))
        while True:
            if self.in_string:
                at = _end(_STRING_REST, data, at, size)
                if at == size or data[at] == BACKSLASH:
                    return False, at
                self.in_string = False
                at += 1
                if self.depth == 0:
                    return True, at
            at = _end(_UP_TO_BRACKET, data, at, size)
            if at == size:
                return False, at
            char = data[at]
            at += 1
            if char == QUOTE:
                self.in_string = True
            elif char in (OPEN_OBJECT, OPEN_ARRAY):
                self.depth += 1
                self.deepest = max(self.deepest, self.depth)
            else:
                self.depth -= 1
                if self.depth <= 0:
                    return True, at


def _end(pattern: re.Pattern[bytes], data: bytes, at: int, size: int) -> int:
    match = pattern.match(data, at, size)
    return match.end() if match else at
