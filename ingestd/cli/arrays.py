"""Where in a document the array of records is, when decoding does not know its name."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]')
_OBJECT = re.compile(rb"\[\s*\{")
_SHARE = 0.5
"""Of the head that must be the array: an event may have a list, too."""


def array_path(head: bytes) -> str | None:
    """The dotted path of the array of objects that makes up most of the one document that `head` begins; None when
    there are several documents, or no such array."""
    head = head.strip()
    if not head.startswith(b"{"):
        return None
    open_: list[tuple[bytes, str | None, int]] = []
    found: list[tuple[int, str]] = []
    key = ""

    def note(token: bytes, path: str | None, start: int, end: int) -> None:
        if token == b"[" and path and _OBJECT.match(head, start):
            found.append((end - start, path))

    for match in _TOKEN.finditer(head):
        token = match[0]
        if token in (b"{", b"["):
            open_.append((token, _below(open_, key), match.start()))
        elif token in (b"}", b"]"):
            if not open_:
                return None
            note(*open_.pop(), match.end())
            if not open_ and match.end() < len(head):
                return None
        else:
            key = token[1:-1].decode("utf-8", "replace")
    for entry in open_:
        note(*entry, len(head))
    size, path = max(found, default=(0, ""))
    return path if path and size >= _SHARE * len(head) else None


def _below(open_: list[tuple[bytes, str | None, int]], key: str) -> str | None:
    """Path of what opens next; None where no envelope can name it."""
    if not open_:
        return ""
    token, path, _ = open_[-1]
    if token != b"{" or path is None or not key or "." in key or "[" in key:
        return None
    return f"{path}.{key}" if path else key
