"""Keeping the secrets that this process was given out of every text that leaves it.

A secret is found as it is, as JSON, `repr` and URLs spell it, in texts within texts too; and so are the parts of it
that are secrets themselves: the values of a JSON document, the lines of a key, each without the space around it.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, TextIO
from urllib.parse import quote

HIDDEN = "[secret]"
SHORTEST = 6
"""Characters; what is shorter could not be told from ordinary words in an alert."""
_SHORTEST_LINE = 16
_MOST_PARTS = 500
_LONGEST_PATTERN = 2_048
_MOST_SPELLINGS = 10_000

_spellings: dict[str, re.Pattern[str] | None] = {}
"""Spelling → a pattern for its escaped forms, where it has any."""
hidden: tuple[tuple[str, re.Pattern[str] | None], ...] = ()
"""What `hide` takes out of texts, the longest first: one secret may be the beginning of another."""


def remember(value: str) -> None:
    """Hide this value from now on. Bounded: the oldest goes first."""
    global hidden  # noqa: PLW0603 - what this process was given is global to it
    if value in _spellings:
        return
    for part in parts(value):
        _spellings[part] = _escaped(part)
        _spellings.update(dict.fromkeys(_spelled(part) - {part}))
    while len(_spellings) > _MOST_SPELLINGS:
        del _spellings[next(iter(_spellings))]
    hidden = tuple(sorted(_spellings.items(), key=lambda pair: len(pair[0]), reverse=True))


def forget_all() -> None:
    """Start anew, as a process does that was given nothing yet."""
    global hidden  # noqa: PLW0603 - as above
    _spellings.clear()
    hidden = ()


def hide(text: str) -> str:
    """The same text without secrets."""
    for spelling, escaped in hidden:
        if spelling in text:
            text = text.replace(spelling, HIDDEN)
        if escaped is not None:
            text = escaped.sub(HIDDEN, text)
    return text


def parts(value: str) -> Iterator[str]:
    """What of a secret is one itself, beginning with the whole."""
    return islice(_parts(value), _MOST_PARTS)


def _parts(value: str) -> Iterator[str]:
    """First all values, then their lines: of a document with a long key in it, every value is hidden."""
    texts = [value, *_values(value)]
    for text in texts:
        yield text
        stripped = text.strip()
        if len(text) > len(stripped) >= SHORTEST:  # rules strip what a file or a console ended with a newline
            yield stripped
    for text in reversed(texts):  # the lines of a whole document tell least
        lines = [line.strip() for line in text.splitlines()]
        if len(lines) > 1:
            yield from (line for line in lines if len(line) >= _SHORTEST_LINE)


def _values(value: str) -> Iterator[str]:
    """The texts and numbers in a JSON document."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return
    pending: list[Any] = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str | int | float) and not isinstance(item, bool) and len(str(item)) >= SHORTEST:
            yield str(item)


def _spelled(part: str) -> set[str]:
    """How JSON, a `repr`, a URL and a header spell it."""
    data = part.encode("utf-8", "surrogatepass")
    quoted = {json.dumps(part)[1:-1], repr(part)[1:-1], quote(data), quote(data, safe="")}
    return quoted | {base64.b64encode(data).decode().rstrip("=")}


def _escaped(part: str) -> re.Pattern[str] | None:
    """A pattern for the part inside of JSON or a `repr`, however deep, where each quote, backslash and character
    beyond ASCII has another form; None for a part without any. A long part is looked for as it is spelled once."""
    if len(part) > _LONGEST_PATTERN or (part.isascii() and part.isprintable() and not re.search(r"[\"'\\]", part)):
        return None
    pieces = re.findall(r"\\+|[^\\]", part, re.DOTALL)
    return re.compile("".join(map(_piece, pieces)))


def _piece(piece: str) -> str:
    if piece[0] == "\\":
        return r"\\+"
    if piece in "'\"":
        return rf"\\*{piece}"
    if piece.isascii() and piece.isprintable():
        return re.escape(piece)
    data = piece.encode("utf-8", "surrogatepass")
    forms = {repr(piece)[1:-1], json.dumps(piece)[1:-1], repr(data)[2:-1], "".join(f"\\x{byte:02x}" for byte in data)}
    return "|".join((f"(?:{re.escape(piece)}", *(re.escape(form).replace(r"\\", r"\\+") for form in forms))) + ")"


class Hiding(io.TextIOBase):
    """A stream that lets no secret through: for what rules write to stderr, which is the daemon's log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write without secrets, at once."""
        self._stream.write(hide(text))
        self._stream.flush()
        return len(text)

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()
