"""What every configuration model is made of: the strict base class and the field types for units and paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

BASE_FOLDER = "base_folder"
"""Key of the validation context: the folder that relative paths start from, which is the root file's."""


class Model(BaseModel):
    """Base of every configuration model: unknown keys are refused, values never change, inputs are never quoted.

    The docstring under a field becomes its description in the JSON Schema and in the documentation.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )


def _scaled(value: Any, units: dict[str, float], examples: str) -> Any:
    if not isinstance(value, str):
        return value
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value, re.ASCII)
    if number is None or number[2].lower() not in units:
        raise ValueError(f"not a number with a unit; write for example {examples}")
    return float(number[1]) * units[number[2].lower()]


_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS: dict[str, float] = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _SIZE_UNITS[_letter + "b"] = 1000**_power
    _SIZE_UNITS[_letter + "ib"] = 1024**_power


_TIME_PATTERN = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)?$"
_SIZE_PATTERN = r"^\d+(\.\d+)?\s*([KMGTkmgt]i?[Bb]|[Bb])?$"


def _seconds(value: Any) -> Any:
    return _scaled(value, _TIME_UNITS, '90, "90s", "5m", "12h" or "30d"')


def _bytes(value: Any) -> Any:
    scaled = _scaled(value, _SIZE_UNITS, '1048576, "64KiB", "256MiB" or "2GB"')
    return round(scaled) if isinstance(value, str) else scaled


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _TIME_PATTERN}]}),
]
"""A duration: seconds as a number, or text with a unit such as `5m`."""

Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE_PATTERN}]}),
]
"""A size: bytes as a number, or text with a unit such as `256MiB`."""


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get(BASE_FOLDER)
    path = path.expanduser()
    return Path(base, path) if base is not None else path


def _absolute_unless_url(text: str, info: ValidationInfo) -> str:
    return text if "://" in text else str(_absolute(Path(text), info))


ConfigPath = Annotated[Path, AfterValidator(_absolute)]
"""A path; relative ones start at the folder of the root file, `~` is the home folder."""

UrlOrPath = Annotated[str, Field(min_length=1), AfterValidator(_absolute_unless_url)]
"""A URL (`s3://bucket/prefix`), or a path like `ConfigPath`."""


def _plain_name(name: str) -> str:
    if re.fullmatch(_NAME_PATTERN, name) is None:
        raise ValueError(
            "a name is letters, digits, `_`, `.` and `-`, starts with a letter or digit, and has 64 at most"
        )
    return name


_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

ComponentName = Annotated[
    str, AfterValidator(_plain_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})
]
"""The name that the user gives to a source or destination: it is a label of metrics and part of identities."""
