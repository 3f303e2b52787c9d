"""JSON text of any value."""

from __future__ import annotations

import json
from typing import Any

import orjson


def json_text(value: Any) -> bytes:
    """`value` as JSON, whatever it is: integers beyond 64 bits keep their digits, other oddities get their repr."""
    try:
        return orjson.dumps(value)
    except TypeError:
        pass
    try:
        return json.dumps(value, separators=(",", ":"), default=repr).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return orjson.dumps({"_error": f"not representable as JSON: {error!s:.200}"})
