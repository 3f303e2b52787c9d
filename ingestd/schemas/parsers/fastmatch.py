r"""fastmatch: literals and `%{field}`; a field ends at the first occurrence of the literal behind it.

A pattern becomes one regular expression of atomic groups: no backtracking, linear in the line, and done by
the C engine. When a field stands between two equal quotes and the line holds a backslash, escaped quotes do
not end it and escapes are undone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_FIELD = re.compile(r"%\{([^}]*)\}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}

Cells = Sequence["str | None"]
"""Texts in the order of the names; None is absent."""


def _tokens(pattern: str) -> list[str]:
    """literal, field, literal, field, …, literal."""
    return _FIELD.split(pattern)


def field_names(pattern: str) -> list[str]:
    """Names of the fields in order, without the ignored ones. Raises ValueError for a bad pattern."""
    tokens = _tokens(pattern)
    fields = tokens[1::2]
    if not fields:
        raise ValueError(f"the pattern {pattern!r} has no %{{field}}")
    for at in range(2, len(tokens) - 1, 2):
        if not tokens[at]:
            raise ValueError(f"%{{{tokens[at - 1]}}}%{{{tokens[at + 1]}}}: put a delimiter between two fields")
    named = [name for name in fields if name]
    if len(set(named)) != len(named):
        raise ValueError(f"a field stands twice in the pattern {pattern!r}")
    return named


def _quoted(before: str, after: str) -> str:
    return after[:1] if after[:1] in {'"', "'"} and before[-1:] == after[:1] else ""


def _expression(tokens: list[str], *, escapes: bool) -> str:
    out = [re.escape(tokens[0])]
    for at in range(1, len(tokens), 2):
        before, name, after = tokens[at - 1], tokens[at], tokens[at + 1]
        quote = _quoted(before, after)
        if not after:
            body = ".*"
        elif escapes and quote:
            body = rf"(?:[^{quote}\\]|\\.)*+"
        elif len(after) == 1:
            body = f"[^{re.escape(after)}]*+"
        else:
            body = ".*?"
        out.append(f"(?>({body}){re.escape(after)})" if name else f"(?>{body}{re.escape(after)})")
    return "".join(out)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _PLAIN_ESCAPES.get(match[1], match[1]), text)


def compile_pattern(pattern: str) -> tuple[tuple[str, ...], Callable[[str], Cells | None]]:
    """(names, function from a line to the texts of those names, None when the line does not match)."""
    names = tuple(field_names(pattern))
    tokens = _tokens(pattern)
    plain = re.compile(_expression(tokens, escapes=False), re.DOTALL).match
    quoted = [at // 2 for at in range(1, len(tokens), 2) if tokens[at] and _quoted(tokens[at - 1], tokens[at + 1])]
    if not quoted:

        def cut(line: str) -> Cells | None:
            match = plain(line)
            return None if match is None else match.groups()

        return names, cut

    escaped = re.compile(_expression(tokens, escapes=True), re.DOTALL).match
    fields = tokens[1::2]
    positions = [len([name for name in fields[:at] if name]) for at in quoted]

    def cut_quoted(line: str) -> Cells | None:
        if "\\" not in line:
            match = plain(line)
            return None if match is None else match.groups()
        match = escaped(line)
        if match is None:
            return None
        cells = list(match.groups())
        for position in positions:
            if "\\" in cells[position]:
                cells[position] = _unescape(cells[position])
        return cells

    return names, cut_quoted
