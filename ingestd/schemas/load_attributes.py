"""Attributes of fields that are mappings of their own: validate, expect and the transformations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

from ingestd.schemas import spec
from ingestd.schemas.parsers.regex import quiet
from ingestd.schemas.problems import Problems
from ingestd.schemas.yamlnodes import Map


def read_validate(problems: Problems, node: Map, path: str) -> spec.Validate | None:
    """`validate` of a string."""
    rules = problems.mapping(node, "validate", path)
    if rules is None:
        return None
    path += ".validate"
    problems.unknown_keys(rules, ("allow", "deny", "ip", "cidr"), path)
    allow, deny = problems.texts(rules, "allow", path), problems.texts(rules, "deny", path)
    if "allow" in rules and "deny" in rules:
        problems.add(rules.line, path, "write allow or deny, not both")
    for key, listed in (("allow", allow), ("deny", deny)):
        if key in rules and (not listed or "" in listed):
            problems.add(rules.line_of(key), path, f"{key} must list texts, none of them empty")
    families = {}
    for key in ("ip", "cidr"):
        families[key] = problems.text(rules, key, path)
        if families[key] not in {"", "ipv4", "ipv6", "any"}:
            problems.add(rules.line_of(key), path, f"{key} must be ipv4, ipv6 or any, not {families[key]!r}")
            families[key] = "any"
    return spec.Validate(allow=allow, deny=deny, ip=families["ip"], cidr=families["cidr"])  # type: ignore[arg-type]


def _expect(problems: Problems, node: Map, path: str) -> spec.Expect | None:
    args = problems.mapping(node, "expect", path)
    if args is None:
        return None
    path += ".expect"
    problems.unknown_keys(args, ("values", "pattern", "min", "max", "presentWhen"), path)
    bounds: dict[str, float | None] = {}
    for key in ("min", "max"):
        bounds[key] = args.get(key)
        if bounds[key] is not None and (isinstance(bounds[key], bool) or not isinstance(bounds[key], (int, float))):
            problems.add(args.line_of(key), path, f"{key} must be a number")
            bounds[key] = None
    pattern = problems.text(args, "pattern", path)
    try:
        re2.compile(pattern, quiet())
    except re2.error:
        problems.add(args.line_of("pattern"), path, f"{pattern!r} is not an RE2 expression")
        pattern = ""
    when = problems.mapping(args, "presentWhen", path)
    if when is not None and len(when) != 1:
        problems.add(when.line, path, "presentWhen needs one field and its values", "presentWhen: {kind: [a, b]}")
        when = None
    sister = next(iter(when)) if when is not None else ""
    return spec.Expect(
        values=problems.texts(args, "values", path),
        pattern=pattern,
        minimum=bounds["min"],
        maximum=bounds["max"],
        present_when=(sister, problems.texts(when, sister, path)) if when is not None else None,
    )


def _pairs(problems: Problems, node: Map, path: str) -> spec.Pairs | None:
    args = problems.mapping(node, "pairs", path)
    if args is None:
        return None
    path += ".pairs"
    problems.unknown_keys(args, ("key", "values"), path)
    values = problems.texts(args, "values", path) or ("value",)
    return spec.Pairs(problems.text(args, "key", path, "name"), values)


def _key_values(problems: Problems, node: Map, path: str) -> spec.KeyValues | None:
    args = problems.mapping(node, "keyValues", path)
    if args is None:
        return None
    problems.unknown_keys(args, ("from", "separator"), path + ".keyValues")
    separator = problems.text(args, "separator", path + ".keyValues")
    return spec.KeyValues(_needed(problems, args, "from", path + ".keyValues"), separator)


def _copy(problems: Problems, node: Map, path: str) -> spec.Copy | None:
    args = problems.mapping(node, "copy", path)
    if args is None:
        return None
    problems.unknown_keys(args, ("from",), path + ".copy")
    return spec.Copy(_needed(problems, args, "from", path + ".copy"))


def _concat(problems: Problems, node: Map, path: str) -> spec.Concat | None:
    args = problems.mapping(node, "concat", path)
    if args is None:
        return None
    path += ".concat"
    problems.unknown_keys(args, ("paths", "separator"), path)
    paths = problems.texts(args, "paths", path)
    if not paths:
        problems.add(args.line, path, "needs paths", "concat: {paths: [date, time], separator: T}")
    return spec.Concat(paths, problems.text(args, "separator", path))


def _split(problems: Problems, node: Map, path: str) -> spec.Split | None:
    args = problems.mapping(node, "split", path)
    if args is None:
        return None
    path += ".split"
    problems.unknown_keys(args, ("from", "separator", "index"), path)
    separator = _needed(problems, args, "separator", path)
    index = problems.integer(args, "index", path) if "index" in args else None
    return spec.Split(_needed(problems, args, "from", path), separator or " ", index)


def _mask(problems: Problems, node: Map, path: str) -> spec.Mask | None:
    args = problems.mapping(node, "mask", path)
    if args is None:
        return None
    path += ".mask"
    problems.unknown_keys(args, ("type", "to", "salt"), path)
    kind = problems.text(args, "type", path)
    if kind == "hash":
        return spec.Mask("hash", salt=problems.text(args, "salt", path))
    if kind != "redact":
        problems.add(args.line_of("type"), path, f"type must be redact or hash, not {kind!r}")
    return spec.Mask("redact", to=problems.text(args, "to", path, "***REDACTED***"))


ATTRIBUTES: dict[str, Callable[[Problems, Map, str], Any]] = {
    "expect": _expect,
    "pairs": _pairs,
    "key_values": _key_values,
    "copy": _copy,
    "concat": _concat,
    "split": _split,
    "mask": _mask,
}
"""Attribute of a field, as `spec.Field` names it, and its reader."""


def _needed(problems: Problems, args: Map, key: str, path: str) -> str:
    text = problems.text(args, key, path)
    if not text:
        problems.add(args.line_of(key), path, f"needs {key}")
    return text
