"""Indicators inside free-form data: a `json` field that names indicators has its texts looked at.

Only forms that prove themselves count (an ARN, an address, a hash), and only texts short enough to be one.
Generated per list of indicators, with the cheapest test first: nearly every text fails the first comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingestd.schemas import indicators

_MOST_NODES = 20_000  # a hostile record may not hold a worker for long

_TESTS = {
    "aws_arn": "{v}[:4] == 'arn:'",
    "aws_arn_only": "{v}[:4] == 'arn:'",
    "aws_instance_id": "{v}[:2] == 'i-' and len({v}) in (10, 19)",
    "aws_account_id": "len({v}) == 12 and {v}.isdigit()",
    "ip": "{v}[-1:] in HEX and 2 < len({v}) < 46 and ({v}.count('.') == 3 or {v}.count(':') > 1)",
    "email": "'@' in {v} and len({v}) < 255",
    "md5": "len({v}) == 32",
    "sha1": "len({v}) == 40",
    "sha256": "len({v}) == 64",
}

_made: dict[tuple[str, ...], Callable[..., None]] = {}


def _source(names: Sequence[str], lists: Sequence[str]) -> str:
    places = {name: name for name in lists}
    lines = [
        f"def scan(value, {', '.join(lists)}):",
        "  todo = [value]",
        "  left = MOST_NODES",
        "  for box in todo:",
        "    for v in (box.values() if box.__class__ is dict else box if box.__class__ is list else (box,)):",
        "      if v.__class__ is str:",
    ]
    for name in names:
        lines.append(f"        if {_TESTS[name].format(v='v')}:")
        lines.extend(" " * 10 + line.format(v="v", **places) for line in indicators.TABLE[name].code)
    lines += [
        "      elif v.__class__ is dict or v.__class__ is list:",
        "        if left <= 0: return",
        "        left -= 1",
        "        if v: todo.append(v)",
    ]
    return "\n".join(lines)


def scanner(names: Sequence[str]) -> Callable[..., None]:
    """`scan(value, *sets)`: adds what it finds to the sets of the lists that `names` write, in sorted order."""
    key = tuple(names)
    if key not in _made:
        lists = sorted({list_ for name in names for list_ in indicators.TABLE[name].writes})
        namespace: dict[str, Any] = {
            **indicators.NAMESPACE,
            "MOST_NODES": _MOST_NODES,
            "HEX": frozenset("0123456789abcdefABCDEF:"),
        }
        exec(compile(_source(key, lists), "<scan>", "exec"), namespace)  # noqa: S102 - our own code
        _made[key] = namespace["scan"]
    return _made[key]
