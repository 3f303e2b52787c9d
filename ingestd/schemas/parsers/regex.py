"""regex: one RE2 expression with grok's `%{PATTERN:field}`. Linear in the line, whatever the expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import re2

_GROK = re.compile(r"%\{([A-Z][A-Z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_.@-]*))?\}")
_DEFINITION = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_MAX_LENGTH = 100_000

_IPV4 = r"(?:\d{1,3}\.){3}\d{1,3}"
_IPV6 = r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"

PATTERNS: dict[str, str] = {
    "DATA": r".*?", "GREEDYDATA": r".*", "NOTSPACE": r"\S+", "SPACE": r"\s*", "WORD": r"\b\w+\b",
    "INT": r"[+-]?\d+", "POSINT": r"[1-9]\d*", "NONNEGINT": r"\d+", "NUMBER": r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)",
    "BASE16NUM": r"(?:0[xX])?[0-9A-Fa-f]+", "BOOL": r"true|false|TRUE|FALSE|True|False",
    "QUOTEDSTRING": r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", "QS": "%{QUOTEDSTRING}",
    "UUID": r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
    "USERNAME": r"[A-Za-z0-9._-]+", "USER": "%{USERNAME}",
    "EMAILLOCALPART": r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+", "EMAILADDRESS": r"%{EMAILLOCALPART}@%{HOSTNAME}",
    "IPV4": _IPV4, "IPV6": _IPV6, "IP": f"(?:{_IPV6}|{_IPV4})",
    "HOSTNAME": r"[0-9A-Za-z_](?:[0-9A-Za-z_-]*[0-9A-Za-z_])?(?:\.[0-9A-Za-z_](?:[0-9A-Za-z_-]*[0-9A-Za-z_])?)*\.?",
    "IPORHOST": "(?:%{IP}|%{HOSTNAME})", "HOST": "%{HOSTNAME}", "HOSTPORT": "%{IPORHOST}:%{POSINT}",
    "MAC": r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}",
    "PATH": r"(?:%{UNIXPATH}|%{WINPATH})", "UNIXPATH": r"(?:/[^/\s]*)+",
    "WINPATH": r"(?:[A-Za-z]:|\\)(?:\\[^\\?*\s]*)+",
    "URIPROTO": r"[A-Za-z][A-Za-z0-9+.-]*", "URIHOST": r"%{IPORHOST}(?::\d+)?", "URIPATH": r"(?:/[^\s?#]*)+",
    "URIPARAM": r"\?[^\s#]*", "URIPATHPARAM": r"%{URIPATH}(?:%{URIPARAM})?",
    "URI": r"%{URIPROTO}://(?:[^\s/@]+@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?",
    "MONTH": r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:tember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)",
    "MONTHNUM": r"(?:0?[1-9]|1[0-2])", "MONTHDAY": r"(?:0[1-9]|[12]\d|3[01]|[1-9])",
    "DAY": r"(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)",
    "YEAR": r"(?:\d\d){1,2}", "HOUR": r"(?:2[0-3]|[01]?\d)", "MINUTE": r"[0-5]\d",
    "SECOND": r"(?:[0-5]?\d|60)(?:[:.,]\d+)?",
    "TIME": r"%{HOUR}:%{MINUTE}(?::%{SECOND})?", "DATE_US": r"%{MONTHNUM}[/-]%{MONTHDAY}[/-]%{YEAR}",
    "DATE_EU": r"%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}", "DATE": "(?:%{DATE_US}|%{DATE_EU})",
    "ISO8601_TIMEZONE": r"(?:Z|[+-]%{HOUR}(?::?%{MINUTE}))",
    "TIMESTAMP_ISO8601": r"\d{4}-%{MONTHNUM}-%{MONTHDAY}[T ]"
    r"%{HOUR}:?%{MINUTE}(?::?%{SECOND})?(?:%{ISO8601_TIMEZONE})?",
    "TZ": r"[A-Z]{3,4}", "HTTPDATE": r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}",
    "SYSLOGTIMESTAMP": r"%{MONTH} +%{MONTHDAY} %{TIME}", "PROG": r"[\x21-\x5a\x5c\x5e-\x7e]+",
    "SYSLOGPROG": r"%{PROG}(?:\[%{POSINT}\])?", "SYSLOGHOST": "%{IPORHOST}",
    "LOGLEVEL": r"(?i:trace|debug|notice|info(?:rmation)?|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|severe|alert"
    r"|emerg(?:ency)?)",
    "COMMONAPACHELOG": r'%{IPORHOST:clientip} %{NOTSPACE:ident} %{NOTSPACE:auth} \[%{HTTPDATE:timestamp}\] '
    r'"(?:%{WORD:verb} %{NOTSPACE:request}(?: HTTP/%{NUMBER:httpversion})?|%{DATA:rawrequest})" '
    r"%{NUMBER:response} (?:%{NUMBER:bytes}|-)",
    "COMBINEDAPACHELOG": "%{COMMONAPACHELOG} %{QS:referrer} %{QS:agent}",
}  # fmt: skip
"""grok's patterns, written anew without look-around, which RE2 does not have."""


def expand(pattern: str, definitions: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """(expression without grok, field of each of its groups or `""`). Raises ValueError."""
    for name in definitions:
        if not _DEFINITION.match(name):
            raise ValueError(f"patternDefinitions: {name!r} must be capitals, digits and _")
    known = {**PATTERNS, **definitions}
    fields: dict[str, str] = {}
    open_names: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name, field = match[1], match[2]
        if name not in known:
            raise ValueError(f"no grok pattern named {name!r}: define it under patternDefinitions")
        if name in open_names:
            raise ValueError(f"patternDefinitions: {name} refers to itself")
        open_names.append(name)
        body = _GROK.sub(replace, known[name])
        open_names.pop()
        if not field:
            return f"(?:{body})"
        group = f"grok_{len(fields)}"
        fields[group] = field
        return f"(?P<{group}>{body})"

    expression = _GROK.sub(replace, pattern)
    if len(expression) > _MAX_LENGTH:
        raise ValueError(f"the expression has {len(expression)} characters; the limit is {_MAX_LENGTH}")
    try:
        compiled = re2.compile(expression, quiet())
    except re2.error as error:
        raise ValueError(f"not an RE2 expression: {_text(error)}") from error
    groups = [""] * compiled.groups
    for group, index in compiled.groupindex.items():
        groups[index - 1] = fields.get(group, group)
    if not any(groups):
        raise ValueError("no field: write (?P<name>…) or %{PATTERN:name}")
    return expression, tuple(groups)


def quiet() -> Any:
    """Options with which the library leaves it to us to tell of a mistake, instead of writing to stderr."""
    options = re2.Options()
    options.log_errors = False
    return options


def _text(error: Exception) -> str:
    message = error.args[0] if error.args else error
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)


def compile_pattern(
    expression: str, groups: tuple[str, ...]
) -> tuple[tuple[str, ...], Callable[[str], Sequence[str | None] | None]]:
    """(names, function from a line to their texts, None when the expression is nowhere in the line)."""
    search = re2.compile(expression).search
    wanted = [at for at, name in enumerate(groups) if name]
    names = tuple(groups[at] for at in wanted)

    def cut(line: str) -> Sequence[str | None] | None:
        match = search(line)
        if match is None:
            return None
        found = match.groups()
        return found if len(wanted) == len(found) else [found[at] for at in wanted]

    if len(set(names)) == len(names):
        return names, cut
    return _merged(names, cut)


def _merged(
    names: tuple[str, ...], cut: Callable[[str], Sequence[str | None] | None]
) -> tuple[tuple[str, ...], Callable[[str], Sequence[str | None] | None]]:
    """A field named in several alternatives takes the text of the one that matched."""
    unique = tuple(dict.fromkeys(names))

    def cut_merged(line: str) -> Sequence[str | None] | None:
        cells = cut(line)
        if cells is None:
            return None
        taken: dict[str, str] = {}
        for name, cell in zip(names, cells, strict=True):
            if cell is not None:
                taken.setdefault(name, cell)
        return [taken.get(name) for name in unique]

    return unique, cut_merged
