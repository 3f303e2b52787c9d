"""Inside free-form data: how deep it is, and the texts of a `json` field that names indicators.

Only forms that prove themselves count (an ARN, an address, a hash), and only texts short enough to be one.
Generated per list of indicators, with the cheapest test first: nearly every text fails the first comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingestd.schemas import coerce, indicators, jsontext

_DIGITS = "0123456789"
_HEX = _DIGITS + "abcdefABCDEF"

# indicator → (first characters that it may have, the rest of the test)
_TESTS = {
    "aws_arn": ("a", "{v}[:4] == 'arn:'"),
    "aws_arn_only": ("a", "{v}[:4] == 'arn:'"),
    "aws_instance_id": ("i", "{v}[:2] == 'i-' and len({v}) in (10, 19)"),
    "aws_account_id": (_DIGITS, "len({v}) == 12 and {v}.isdigit()"),
    "ip": (_HEX + ":", "2 < len({v}) < 46 and ({v}.count('.') == 3 or {v}.count(':') > 1)"),
    "email": (None, "'@' in {v} and len({v}) < 255"),
    "md5": (_HEX, "len({v}) == 32"),
    "sha1": (_HEX, "len({v}) == 40"),
    "sha256": (_HEX, "len({v}) == 64"),
}

_made: dict[tuple[str, ...], Callable[..., None]] = {}


def _source(names: Sequence[str], lists: Sequence[str], namespace: dict[str, Any]) -> str:
    places = {name: name for name in lists}
    firsts = [_TESTS[name][0] for name in names]
    some = "".join(first for first in firsts if first)
    namespace["START"] = frozenset(some) if None not in firsts else None
    lines = [
        f"def scan({', '.join(('value', *lists))}):",
        "  todo = [value]",
        "  for box in todo:",
        "    for v in (box.values() if box.__class__ is dict else box if box.__class__ is list else (box,)):",
        "      if v.__class__ is str:",
        "        first = v[:1]",
        "        if first in START:" if None not in firsts else "        if first:",
        "          pass",
    ]
    for name in names:
        first, test = _TESTS[name]
        namespace[f"START_{name}"] = frozenset(first or "")
        head = (
            f"first == {first!r} and "
            if first and len(first) == 1
            else f"first in START_{name} and "
            if first
            else ""
        )
        lines.append(f"          if {head}{test.format(v='v')}:")
        lines.extend(" " * 12 + line.format(v="v", **places) for line in indicators.TABLE[name].code)
    lines += [
        "      elif (v.__class__ is dict or v.__class__ is list) and v:",
        "        todo.append(v)",
        # a chain of containers is at most as long as their number: nearly always the answer, for nothing
        "  if len(todo) > MAX_DEPTH: check_depth(value)",
    ]
    return "\n".join(lines)


def scanner(names: Sequence[str]) -> Callable[..., None]:
    """`scan(value, *collected)`: appends what it finds to the lists that `names` write, in sorted order.
    Raises Misfit when the value is nested too deeply."""
    key = tuple(names)
    if key not in _made:
        lists = sorted({list_ for name in names for list_ in indicators.TABLE[name].writes})
        namespace: dict[str, Any] = {
            **indicators.NAMESPACE,
            "MAX_DEPTH": jsontext.MAX_DEPTH,
            "check_depth": coerce.check_depth,
        }
        exec(compile(_source(key, lists, namespace), "<scan>", "exec"), namespace)  # noqa: S102 - our own code
        _made[key] = namespace["scan"]
    return _made[key]
