"""Environment variables in scalar values: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, and `$$` for a dollar.

Expanded after the YAML is parsed, so that a value can never become structure. Braces only: a bare `$1` is as
common in patterns and passwords as it is never meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = re.compile(r"\$\$|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<how>[-?])(?P<rest>.*))?", re.DOTALL)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with its variables filled in. Raises `ValueError` that says what to write or to set."""
    return _PART.sub(lambda part: _value(part, environment), text) if "$" in text else text


def _value(part: re.Match[str], environment: Mapping[str, str]) -> str:
    if part[0] == "$$":
        return "$"
    body = _BODY.fullmatch(part["body"])
    if not part["end"]:
        raise ValueError("`${` without a closing brace; write $$ for a dollar sign")
    if body is None:
        raise ValueError(
            f"{part[0]} is not ${{VAR}}, ${{VAR:-default}} or ${{VAR:?message}}; write $$ for a dollar sign"
        )
    value = environment.get(body["name"])
    if body["how"] is None:
        if value is None:
            raise ValueError(f"the environment variable {body['name']} is not set")
        return value
    if value:
        return value
    if body["how"] == "-":
        return str(body["rest"])
    raise ValueError(f"the environment variable {body['name']} is not set: {body['rest'] or 'it is required'}")
