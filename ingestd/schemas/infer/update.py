"""An existing schema and what new samples show: additions go in, contradictions are told."""

from __future__ import annotations

import difflib
import io
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from ingestd.schemas.infer import names
from ingestd.schemas.infer.decide import Field

_TAKES = {
    "json": names.word_set("string bigint int smallint float boolean timestamp array object json"),
    "string": frozenset(("string", "bigint", "int", "smallint", "float", "boolean", "timestamp")),
    "float": frozenset(("float", "bigint", "int", "smallint")),
    "bigint": frozenset(("bigint", "int", "smallint")),
}
"""Type in the old schema → types of new samples that it reads, besides itself."""
_INTEGERS = ("int", "smallint")


class Change(msgspec.Struct):
    """The old text with additions, a unified diff, and what the samples contradict."""

    text: str
    diff: list[str]
    breaking: list[str]


def updated(old: str, file: str, fields: list[Field], records: int) -> Change:
    """Add what `old` (a valid schema) lacks. Nothing is renamed, retyped or removed; comments stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    root = yaml.load(old)
    update = _Update(root.get("definitions") or {}, records)
    update.fields(root["fields"], fields)
    if not update.added:
        return Change(old, [], update.breaking)
    out = io.StringIO()
    yaml.dump(root, out)
    text = out.getvalue()
    diff = difflib.unified_diff(old.splitlines(), text.splitlines(), file, "updated", lineterm="", n=1)
    return Change(text, list(diff), update.breaking)


class _Update:
    def __init__(self, definitions: Any, records: int) -> None:
        self.added = 0
        self.breaking: list[str] = []
        self._definitions = definitions
        self._records = records

    def fields(self, old: Any, new: list[Field]) -> None:
        known = {str(_source(field)).lower(): field for field in old}
        known.update({str(field["name"]).lower(): field for field in old})
        for field in new:
            given = known.get(field.name.lower())
            if given is None:
                old.append(_node(field))
                self.added += 1
            else:
                self._value(given, field)
        names = {field.name.lower() for field in new if field.seen == field.of}
        for given in old:
            absent = not {str(_source(given)).lower(), str(given["name"]).lower()} & names
            if given.get("required") and absent:
                self.breaking.append(f"{given['name']}: required, but not in every sample")

    def _value(self, old: Any, new: Field) -> None:
        if old.get("type") == "ref":
            old = self._definitions.get(old.get("target"), {})
        kind = old.get("type")
        if kind == "timestamp" and new.type == "timestamp":
            self._formats(old, new)
        elif kind == "object" and new.type == "object":
            self.fields(old["fields"], new.fields)
        elif kind == "array" and new.type == "array" and new.element is not None:
            if new.element.seen:
                self._value(old["element"], new.element)
        elif kind != new.type and not self._takes(str(kind), new):
            self.breaking.append(f"{new.path}: is {kind}, the samples are {new.type}")
        allowed = (old.get("validate") or {}).get("allow")
        if allowed and (other := [text for text in _values(new) if text not in allowed]):
            self.breaking.append(f"{new.path}: {', '.join(other[:3])} not among the allowed values")

    def _takes(self, kind: str, new: Field) -> bool:
        if new.type == "json" and not new.evidence:
            return True
        if kind in _INTEGERS and new.type == "bigint":
            return True  # the round trip tells those that are too large
        return new.type in _TAKES.get(kind, ())

    def _formats(self, old: Any, new: Field) -> None:
        key = "timeFormat" if "timeFormat" in old else "timeFormats"
        given = old.get(key) or ["rfc3339"]
        formats = [given] if isinstance(given, str) else list(given)
        if "unix_auto" in formats:
            return
        more = [name for name in new.attributes.get("timeFormats", ()) if name not in formats]
        if more:
            old.pop(key, None)
            old["timeFormats"] = [*formats, *more]
            self.added += 1


def _source(field: Any) -> Any:
    return (field.get("rename") or {}).get("from", field["name"])


def _values(field: Field) -> list[str]:
    note = next((note for note in field.notes if note.startswith("one of ")), "")
    return note.removeprefix("one of ").split(", ") if note else []


def _node(field: Field, *, named: bool = True) -> CommentedMap:
    """An added field as YAML; nothing that is added is required, nor an event time beside the old one."""
    node = CommentedMap({"name": field.name} if named else {})
    node["type"] = field.type
    for key, value in field.attributes.items():
        if key not in ("required", "isEventTime"):
            node[key] = value
    if field.element is not None:
        node["element"] = _node(field.element, named=False)
    if field.fields:
        node["fields"] = [_node(inner) for inner in field.fields]
    else:
        node.fa.set_flow_style()
    return node
