"""Schema YAML → `spec.Schema`, with every mistake found, each with its line and what to write instead."""

from __future__ import annotations

import difflib
import re

from ingestd.errors import ConfigError, Problem
from ingestd.schemas import indicators, spec, timestamps
from ingestd.schemas.load_attributes import ATTRIBUTES, read_validate
from ingestd.schemas.load_parser import ParserReader
from ingestd.schemas.problems import Problems
from ingestd.schemas.transliterate import column_name
from ingestd.schemas.yamlnodes import Map, Seq, parse

_NAME = re.compile(r"[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z0-9]*){0,5}\Z")
_DEFINITION = re.compile(r"[A-Z][A-Za-z0-9]*\Z")

_TOP = ("version", "schema", "description", "referenceURL", "fieldDiscoveryEnabled", "unroll", "lenient", "parser",
        "fields", "definitions")  # fmt: skip
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
        for key in ("unroll", "lenient"):
            if parser is not None and root.get(key):
                problems.add(root.line_of(key), key, "is for JSON records; this schema has a parser for text")
        return spec.Schema(
            name=name,
            version=0,
            description=problems.text(root, "description", ""),
            reference_url=problems.text(root, "referenceURL", ""),
            keep_unknown=problems.flag(root, "fieldDiscoveryEnabled", "", default=True),
            unroll=problems.text(root, "unroll", ""),
            lenient=problems.flag(root, "lenient", ""),
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
        made = {key: ATTRIBUTES[key](problems, node, here) for key in ATTRIBUTES}
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
            validate=read_validate(problems, node, path),
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
