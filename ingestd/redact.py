"""Taking secrets out of text that people or files will see.

Three nets: values that were resolved from a secret reference in this process, query parameters and user parts of
URLs that are known to carry credentials, and keys whose name says that their value is one.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"

_SHORTEST_VALUE = 6
"""A shorter value would blot out ordinary words."""
_MOST_VALUES = 1_000

_SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token$|^token|authorization|api_?key|private_?key|access_?key|credential"
    r"|signature|webhook_url|connection_string|cookie",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(
    r"(?P<user>(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"
    r"|(?P<query>(?<=[?&])(?:sig|x-amz-signature|x-amz-security-token|x-goog-signature|token|access_token|api_key|key|code)=[^&\s\"']+)"
    r"|(?P<bearer>\b(?:Bearer|Basic|Splunk|GenieKey) (?:(?=\S*\d)[\w.~+/=-]{8,}|[\w.~+/=-]{20,}))"
    r"|(?P<account>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=[^;\s\"']+)"
    r"|(?P<slack>(?<=hooks\.slack\.com/)[A-Za-z0-9/_-]+)",
    re.IGNORECASE,
)

_values: dict[str, None] = {}
_longest_first: tuple[str, ...] = ()
"""One secret may be the beginning of another."""


def remember(value: str) -> None:
    """Note a resolved secret, so that `text` hides it wherever it turns up. Bounded: the oldest goes first."""
    global _longest_first  # noqa: PLW0603 - what this process has resolved is global to it
    if len(value) < _SHORTEST_VALUE or value in _values:
        return
    while len(_values) >= _MOST_VALUES:
        del _values[next(iter(_values))]
    _values[value] = None
    _longest_first = tuple(sorted(_values, key=len, reverse=True))


def forget_all() -> None:
    """Start anew, as a process does that has resolved nothing yet."""
    global _longest_first  # noqa: PLW0603 - as above
    _values.clear()
    _longest_first = ()


def text(line: str) -> str:
    """The same text without secrets."""
    for value in _longest_first:
        if value in line:
            line = line.replace(value, HIDDEN)
    return _IN_TEXT.sub(_hide, line)


def _hide(found: re.Match[str]) -> str:
    name, equals, _ = found[0].partition("=")
    return f"{name}={HIDDEN}" if equals and found.lastgroup in {"query", "account"} else HIDDEN


def is_secret_key(name: str) -> bool:
    """Whether a key's name says that its value is a secret."""
    return _SECRET_KEY.search(name) is not None


def tree(value: Any, *, keys: bool = True) -> Any:
    """The same JSON-like value without secrets; `keys=False` looks at values only, not at their keys."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {
            key: HIDDEN
            if keys and isinstance(key, str) and is_secret_key(key) and _scalar(item)
            else tree(item, keys=keys)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [tree(item, keys=keys) for item in value]
    return value


def _scalar(value: Any) -> bool:
    return isinstance(value, str | bytes | int | float) and not isinstance(value, bool)
