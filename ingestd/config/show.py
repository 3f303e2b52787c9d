"""The configuration for people and tools: as text without secrets, and as a JSON Schema for editors."""

from __future__ import annotations

import io
from typing import Any

from pydantic.json_schema import models_json_schema
from ruamel.yaml import YAML

from ingestd import redact
from ingestd.config import components
from ingestd.config.models import Root

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""Every scalar may be a variable instead."""


def as_yaml(root: Root) -> str:
    """The effective configuration: defaults filled in, variables expanded, secrets as references only."""
    stream = io.StringIO()
    YAML().dump(as_json(root), stream)
    return stream.getvalue()


def as_json(root: Root) -> dict[str, Any]:
    """The same as plain values."""
    shown: dict[str, Any] = redact.tree(root.model_dump(mode="json", exclude_none=True), keys=False)
    return shown


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, with every source and destination type that is installed."""
    kinds: tuple[components.Kind, ...] = ("sources", "destinations")
    models = {kind: {name: components.load(kind, name).Config for name in components.names(kind)} for kind in kinds}
    wanted = [Root, *(model for of_kind in models.values() for model in of_kind.values())]
    references, bundle = models_json_schema([(model, "validation") for model in wanted])
    definitions: dict[str, Any] = bundle["$defs"]
    schema: dict[str, Any] = dict(definitions[_key(references[Root, "validation"])])
    for kind, of_kind in models.items():
        for name, model in of_kind.items():
            definitions[_key(references[model, "validation"])]["properties"]["type"] = {"const": name}
        refs = {name: references[model, "validation"] for name, model in of_kind.items()}
        section = schema["properties"][kind]
        section["patternProperties"] = dict.fromkeys(section["patternProperties"], _by_type(refs))
        section["additionalProperties"] = False
    schema["$schema"] = SCHEMA_ID
    schema["title"] = "ingestd"
    schema["$defs"] = {name: _with_variables(definition) for name, definition in definitions.items()}
    whole: dict[str, Any] = _with_variables(schema)
    return whole


def _key(reference: Any) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _by_type(references: dict[str, Any]) -> dict[str, Any]:
    """One model for each value of `type`, said so that an editor complains about the right one."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": sorted(references)}},
        "allOf": [
            {"if": {"properties": {"type": {"const": name}}}, "then": reference}
            for name, reference in references.items()
        ],
    }


def _with_variables(schema: Any) -> Any:
    """Allow `${VAR}` where a number, a boolean or one of some words is expected."""
    if isinstance(schema, list):
        return [_with_variables(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    properties = {
        name: {**_shown(item), "anyOf": [_rule(item), _VARIABLE]} if _is_scalar(item) else _with_variables(item)
        for name, item in schema.get("properties", {}).items()
    }
    rest = {key: _with_variables(item) for key, item in schema.items() if key not in {"properties", "$defs"}}
    kept = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return rest | ({"properties": properties} if properties else {}) | kept


_SHOWN = ("title", "description", "default")


def _is_scalar(schema: dict[str, Any]) -> bool:
    return schema.get("type") in {"integer", "number", "boolean"} or "enum" in schema


def _shown(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _SHOWN if key in schema}


def _rule(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key not in _SHOWN}
