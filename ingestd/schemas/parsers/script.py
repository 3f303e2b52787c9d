"""script: a Starlark function `def parse(log)` from a line to a dict. Needs the extra `ingestd[script]`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

_INSTALL = "script parsers need Starlark: pip install 'ingestd[script]'"
_JSON = "json.{name}"


def _starlark() -> Any:
    try:
        import starlark
    except ImportError as error:
        raise ValueError(_INSTALL) from error
    return starlark


def _decode64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"base64.decode: {error}") from error


def _module(function: str) -> Any:
    starlark = _starlark()
    module = starlark.Module()
    module.add_callable("_base64_encode", lambda text: base64.b64encode(text.encode()).decode())
    module.add_callable("_base64_decode", _decode64)
    extensions = [starlark.LibraryExtension.Json, starlark.LibraryExtension.StructType]
    builtins = starlark.Globals.extended_by(extensions)
    prelude = "base64 = struct(encode = _base64_encode, decode = _base64_decode)\n"
    for name, source in (("prelude", prelude), ("parse", function)):
        try:
            starlark.eval(module, starlark.parse(name, source), builtins)
        except starlark.StarlarkError as error:
            raise ValueError(f"the script does not load: {error}") from error
    return module.freeze()


def check(function: str) -> None:
    """Raises ValueError, saying why, unless the text defines `parse(log)`."""
    if "def parse(" not in function:
        raise ValueError("function must define parse: function: |\\n  def parse(log):\\n    return json.decode(log)")
    _module(function)


def compile_function(function: str) -> Callable[[str], dict[str, Any] | None]:
    """A function from a line to the dict that `parse` returned; None when it failed or returned none."""
    frozen = _module(function)
    errors = _starlark().StarlarkError

    def run(line: str) -> dict[str, Any] | None:
        try:
            result = frozen.call("parse", line)
        except errors:
            return None
        if not isinstance(result, dict) or not result:
            return None
        # only JSON goes on from here: a script may return values that no column has
        plain = json.loads(json.dumps(result, default=str))
        return plain if isinstance(plain, dict) else None

    return run
