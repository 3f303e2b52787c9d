"""Schema YAML → `spec.Schema`, with every mistake found, each with its line and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

import re2

from ingestd.errors import ConfigError, Problem
from ingestd.schemas import indicators, spec, timestamps
from ingestd.schemas.load_parser import ParserReader
from ingestd.schemas.transliterate import column_name
from ingestd.schemas.yamlnodes import Map, Seq, parse

_NAME = re.compile(r"[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]*){0,5}\Z")
_DEFINITION = re.compile(r"[A-Z][A-Za-z0-9]*\Z")

_TOP = ("version", "schema", "description", "referenceURL", "fieldDiscoveryEnabled", "unroll", "parser", "fields",
        "definitions")  # fmt: skip
_FIELD = (
    "name",
    "required",
    "description",
    "expect",
    "rename",
    "pairs",
    "keyValues",
    "copy",
    "concat",
    "split",
    "mask",
)
_VALUE: dict[str, tuple[str, ...]] = {
    "string": ("indicators", "validate"),
    "bigint": (),
    "int": (),
    "smallint": (),
    "float": (),
    "boolean": (),
    "timestamp": ("timeFormats", "timeFormat", "isEventTime", "isExpiration"),
    "array": ("element", "isEmbeddedJSON"),
    "object": ("fields", "isEmbeddedJSON"),
    "json": ("isEmbeddedJSON", "indicators"),
    "ref": ("target",),
}
_ALWAYS = ("type", "description")


class Problems:
    """Collects the problems of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, line: int, path: str, message: str, hint: str = "") -> None:
        """One mistake."""
        self.found.append(Problem(message, file=self.file, line=line, path=path, hint=hint))

    def unknown_keys(self, node: Map, known: Iterable[str], path: str) -> None:
        """A problem for each key of `node` that is not in `known`."""
        names = list(known)
        for key in node:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
                self.add(node.line_of(key), path, f"unknown key {key!r}", hint)

    def text(self, node: Map, key: str, path: str, default: str = "") -> str:
        """A text at `key`; numbers and booleans that YAML made of one are taken back."""
        value = node.get(key)
        if value is None:
            return default
        if isinstance(value, (Map, Seq)):
            self.add(node.line_of(key), path, f"{key} must be a text")
            return default
        return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)

    def flag(self, node: Map, key: str, path: str, *, default: bool = False) -> bool:
        """true or false at `key`."""
        value = node.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add(node.line_of(key), path, f"{key} must be true or false, not {value!r}")
            return default
        return value

    def integer(self, node: Map, key: str, path: str, default: int = 0) -> int:
        """A whole number at `key`."""
        value = node.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.add(node.line_of(key), path, f"{key} must be a whole number, not {value!r}")
            return default
        return value

    def texts(self, node: Map, key: str, path: str) -> tuple[str, ...]:
        """A list of texts at `key`; a single text counts as a list of one."""
        value = node.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, Seq) else [value]
        if any(isinstance(item, (Map, Seq)) for item in items):
            self.add(node.line_of(key), path, f"{key} must be a list of texts")
            return ()
        return tuple("" if item is None else item if isinstance(item, str) else str(item) for item in items)

    def mapping(self, node: Map, key: str, path: str) -> Map | None:
        """A mapping at `key`, or None."""
        value = node.get(key)
        if value is None or isinstance(value, Map):
            return value
        self.add(node.line_of(key), path, f"{key} must be a mapping")
        return None


class _SchemaReader:
    def __init__(self, root: Map, file: str) -> None:
        self.root = root
        self.problems = Problems(file)
        self.definitions = self.problems.mapping(root, "definitions", "") or Map(root.line)
        self.open_refs: list[str] = []

    def read(self, fallback_name: str) -> spec.Schema:
        root, problems = self.root, self.problems
        problems.unknown_keys(root, _TOP, "")
        version = problems.integer(root, "version", "")
        if version != 0:
            problems.add(root.line_of("version"), "version", f"must be 0, not {version}")
        name = problems.text(root, "schema", "", fallback_name)
        if not _NAME.match(name) or len(name) > 255:
            hint = "1 to 6 words that begin with a capital, joined by dots, as in Custom.MyApp.Audit"
            problems.add(root.line_of("schema"), "schema", f"{name!r} is not a name for a log type", hint)
        for key in self.definitions:
            if not _DEFINITION.match(key):
                problems.add(self.definitions.line_of(key), "definitions", f"{key!r} must be letters and digits, "
                             "the first a capital")  # fmt: skip
        fields = self.fields(root, "", depth=1, top=True)
        parser = ParserReader(problems).read(root, {field.source for field in fields})
        return spec.Schema(
            name=name,
            version=0,
            description=problems.text(root, "description", ""),
            reference_url=problems.text(root, "referenceURL", ""),
            keep_unknown=problems.flag(root, "fieldDiscoveryEnabled", "", default=True),
            unroll=problems.text(root, "unroll", ""),
            parser=parser,
            fields=fields,
            file=problems.file,
        )

    # --- fields ---------------------------------------------------------------------------------------

    def fields(self, node: Map, path: str, *, depth: int, top: bool = False) -> tuple[spec.Field, ...]:
        items = node.get("fields")
        if not isinstance(items, Seq) or not items:
            self.problems.add(node.line_of("fields"), path, "fields must be a list with at least one field",
                              "fields: [{name: id, type: string}]")  # fmt: skip
            return ()
        found: list[spec.Field] = []
        names: dict[str, tuple[str, int]] = {}
        for item, line in zip(items, items.lines, strict=True):
            if not isinstance(item, Map):
                self.problems.add(line, path, "a field must be a mapping", "{name: id, type: string}")
                continue
            field = self.field(item, path, depth)
            if field is None:
                continue
            folded = field.name.lower()
            if folded in names:
                other, first = names[folded]
                self.problems.add(line, _join(path, field.name), f"the same column as {other!r} in line {first}; "
                                  "columns do not know capitals")  # fmt: skip
                continue
            if top and folded.startswith("p_"):
                self.problems.add(line, field.name, "names that begin with p_ are for standard fields", "rename it")
                continue
            names[folded] = (field.name, line)
            found.append(field)
        return tuple(found)

    def field(self, node: Map, path: str, depth: int) -> spec.Field | None:
        problems = self.problems
        name = problems.text(node, "name", path)
        if not name:
            problems.add(node.line, path, "a field needs a name")
            return None
        here = _join(path, name)
        value = self.value(node, here, depth, extra=_FIELD)
        if value is None:
            return None
        source = name
        rename = problems.mapping(node, "rename", here)
        if rename is not None:
            problems.unknown_keys(rename, ("from",), here + ".rename")
            source = problems.text(rename, "from", here + ".rename") or name
            if "from" not in rename:
                problems.add(rename.line, here + ".rename", "needs from", "rename: {from: original-key}")
        made = {key: _TRANSFORMS[key](problems, node, here) for key in _TRANSFORMS}
        if made["mask"] is not None and value.kind != "string":
            problems.add(node.line_of("mask"), here, f"mask works on type string, not {value.kind}")
        return spec.Field(
            name=column_name(name),
            source=source,
            value=value,
            required=problems.flag(node, "required", here),
            description=problems.text(node, "description", here),
            **made,
        )

    # --- values ---------------------------------------------------------------------------------------

    def value(self, node: Map, path: str, depth: int, extra: tuple[str, ...] = ()) -> spec.Value | None:
        problems = self.problems
        kind = problems.text(node, "type", path)
        if kind not in _VALUE:
            near = difflib.get_close_matches(kind, _VALUE, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(_VALUE)}"
            what = f"unknown type {kind!r}" if kind else "needs a type"
            problems.add(node.line_of("type"), path, what, hint)
            return None
        problems.unknown_keys(node, (*_ALWAYS, *extra, *_VALUE[kind]), path)
        if depth > spec.MAX_DEPTH:
            problems.add(node.line, path, f"nested more than {spec.MAX_DEPTH} deep")
            return None
        if kind == "ref":
            return self.ref(node, path, depth)
        element = None
        if kind == "array":
            inner = problems.mapping(node, "element", path)
            if inner is None:
                problems.add(node.line, path, "an array needs an element", "element: {type: string}")
                return None
            element = self.value(inner, path + "[]", depth + 1)
            if element is None:
                return None
        return spec.Value(
            kind=kind,  # type: ignore[arg-type] # a key of _VALUE other than ref is a Kind
            indicators=self.indicators(node, path, kind),
            validate=_validate(problems, node, path),
            time_formats=self.time_formats(node, path) if kind == "timestamp" else (),
            is_event_time=problems.flag(node, "isEventTime", path),
            is_embedded_json=problems.flag(node, "isEmbeddedJSON", path),
            element=element,
            fields=self.fields(node, path, depth=depth + 1) if kind == "object" else (),
        )

    def ref(self, node: Map, path: str, depth: int) -> spec.Value | None:
        target = self.problems.text(node, "target", path)
        line = node.line_of("target")
        if target in self.open_refs:
            chain = " → ".join([*self.open_refs, target])
            self.problems.add(line, path, f"refs go in a circle: {chain}", "end it with type json")
            return None
        definition = self.definitions.get(target)
        if not isinstance(definition, Map):
            near = difflib.get_close_matches(target, self.definitions, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"definitions has {', '.join(self.definitions) or 'none'}"
            )
            self.problems.add(line, path, f"no definition named {target!r}", hint)
            return None
        self.open_refs.append(target)
        try:
            return self.value(definition, path, depth)
        finally:
            self.open_refs.pop()

    def indicators(self, node: Map, path: str, kind: str) -> tuple[str, ...]:
        names = self.problems.texts(node, "indicators", path)
        known = indicators.SCANNABLE if kind == "json" else tuple(indicators.TABLE)
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
                self.problems.add(node.line_of("indicators"), path, f"unknown indicator {name!r}", hint)
        return tuple(name for name in dict.fromkeys(names) if name in known)

    def time_formats(self, node: Map, path: str) -> tuple[str, ...]:
        if "timeFormats" in node and "timeFormat" in node:
            self.problems.add(node.line_of("timeFormat"), path, "write timeFormats or timeFormat, not both")
        key = "timeFormats" if "timeFormats" in node else "timeFormat"
        formats = self.problems.texts(node, key, path) or ("rfc3339",)
        good = []
        for name in formats:
            try:
                timestamps.format_reader(name)
            except ValueError as error:
                near = difflib.get_close_matches(name, timestamps.NAMED, n=1)
                self.problems.add(node.line_of(key), path, str(error), f"did you mean {near[0]!r}?" if near else "")
            else:
                good.append(name)
        return tuple(good)


def _validate(problems: Problems, node: Map, path: str) -> spec.Validate | None:
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
        re2.compile(pattern)
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
    problems.unknown_keys(args, ("from",), path + ".keyValues")
    return spec.KeyValues(_needed(problems, args, "from", path + ".keyValues"))


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


_TRANSFORMS: dict[str, Callable[[Problems, Map, str], Any]] = {
    "expect": _expect,
    "pairs": _pairs,
    "key_values": _key_values,
    "copy": _copy,
    "concat": _concat,
    "split": _split,
    "mask": _mask,
}


def _needed(problems: Problems, args: Map, key: str, path: str) -> str:
    text = problems.text(args, key, path)
    if not text:
        problems.add(args.line_of(key), path, f"needs {key}")
    return text


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def load_schemas(text: str, file: str, fallback_name: str = "") -> list[spec.Schema]:
    """The schemas of one YAML text (one per document). `fallback_name` stands in for a missing `schema`.
    Raises ConfigError with all problems of the file."""
    problems: list[Problem] = []
    schemas: list[spec.Schema] = []
    for document in parse(text, file):
        if document is None:
            continue
        if not isinstance(document, Map):
            problems.append(Problem("a schema must be a mapping with fields", file=file, line=1))
            continue
        reader = _SchemaReader(document, file)
        schemas.append(reader.read(fallback_name))
        problems.extend(reader.problems.found)
    if problems:
        raise ConfigError(problems)
    return schemas
