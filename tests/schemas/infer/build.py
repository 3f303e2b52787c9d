"""Small helpers: records in, the inferred schema as data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson
import yaml

from ingestd.schemas.infer import Inference, Inferer


def infer(records: Sequence[bytes], name: str = "Custom.Test") -> Inference:
    """Infer from one file of records."""
    inferer = Inferer(name)
    inferer.start("sample", records)
    for ordinal, data in enumerate(records):
        inferer.add(ordinal, data)
    return inferer.finish()


def infer_json(*values: Any) -> Inference:
    """Infer from values written as JSON lines."""
    return infer([orjson.dumps(value) for value in values])


def infer_lines(text: str) -> Inference:
    """Infer from lines of text."""
    return infer([line.encode() for line in text.splitlines() if line.strip()])


def fields(made: Inference) -> dict[str, dict[str, Any]]:
    """The fields of the YAML by name, at the top."""
    assert made.yaml, made.problems
    return {field["name"]: field for field in yaml.safe_load(made.yaml)["fields"]}


def column(*values: Any, name: str = "field") -> dict[str, Any]:
    """What is inferred for one field that has these values."""
    made = infer_json(*({name: value} for value in values))
    assert not made.losses, made.losses
    return {key: value for key, value in fields(made)[name].items() if key not in ("name", "required", "isEventTime")}


def parser(made: Inference) -> dict[str, Any]:
    """The `parser:` section."""
    found: dict[str, Any] = yaml.safe_load(made.yaml)["parser"]
    return found


def comment_of(made: Inference, field: str) -> str:
    """The comment beside a field."""
    found = re.search(rf"name: {field}\b.*?#(.*)", made.yaml)
    return found[1].strip() if found else ""
