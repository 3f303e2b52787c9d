"""The straightforward way to do the same work, to measure against: what one writes first.

Standard gzip and json over the whole object, one interpretive walk over the schema per event, one read-only wrapper
per event that all rules share, every rule called, `Table.from_pylist`. It follows the schema file and gives the same
rows and matches (`tests/bench` holds both sides to that).
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ingestd.model import row_id, row_id_prefix

Event = dict[str, Any]
Found = dict[str, set[str]]

# --- normalise --------------------------------------------------------------------------------------------


class Normaliser:
    """Walks an event beside its schema."""

    def __init__(self, schema_file: Path, identity: str, source: str, origin: dict[str, str]) -> None:
        schema = yaml.safe_load(schema_file.read_text())
        self._name = schema["schema"]
        self._fields = schema["fields"]
        self._prefix = row_id_prefix(identity)
        self._source = source
        self._origin = origin

    def event(self, record: Event, ordinal: int) -> Event:
        """The normalised event. Raises ValueError for a record that is not of this schema."""
        found: Found = {}
        event = self._object(record, self._fields, found)
        known = {field["name"] for field in self._fields}
        unknown = {name: value for name, value in record.items() if name not in known}
        if unknown:
            event["p_unknown_fields"] = unknown
        now = _text_of(datetime.now(UTC))
        for name, values in found.items():
            event[f"p_any_{name}"] = sorted(values)
        event["p_log_type"] = self._name
        event["p_schema_version"] = 0
        event["p_source_id"] = event["p_source_label"] = self._source
        event["p_source_file"] = self._origin
        event["p_row_id"] = row_id(self._prefix, ordinal)
        event["p_parse_time"] = now
        event["p_event_time"] = event.get("eventTime") or now
        return event

    def _object(self, value: Any, fields: list[dict[str, Any]], found: Found) -> Event:
        if not isinstance(value, dict):
            raise ValueError(f"not an object: {value!r}")  # noqa: TRY004 - one error for all misfits
        result = {}
        for field in fields:
            part = value.get(field["name"])
            if part is None:
                if field.get("required"):
                    raise ValueError(f"{field['name']} is missing")
                continue
            result[field["name"]] = self._value(part, field, found)
        return result

    def _value(self, value: Any, field: dict[str, Any], found: Found) -> Any:
        kind = field["type"]
        if kind == "object":
            return self._object(value, field["fields"], found)
        if kind == "array":
            if not isinstance(value, list):
                raise ValueError(f"not an array: {value!r}")
            return [None if part is None else self._value(part, field["element"], found) for part in value]
        if kind == "timestamp":
            return _text_of(datetime.fromisoformat(value))
        if kind == "boolean":
            return _boolean(value)
        if kind == "string":
            value = _string(value)
        for indicator in field.get("indicators", ()):
            for text in _texts(value):
                _indicate(indicator, text, found, inside_json=kind == "json")
        return value


def _text_of(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}000"


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "1", 1):
        return True
    if value in ("false", "False", "0", 0):
        return False
    raise ValueError(f"not a boolean: {value!r}")


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ValueError(f"not a string: {value!r}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _add(found: Found, name: str, text: str) -> None:
    if text:
        found.setdefault(name, set()).add(text)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _indicate(indicator: str, text: str, found: Found, *, inside_json: bool) -> None:
    if indicator == "ip":
        if _is_ip(text.strip()):
            _add(found, "ip_addresses", text.strip())
    elif indicator == "hostname":
        _add(found, "ip_addresses" if _is_ip(text.strip()) else "domain_names", text.strip())
    elif indicator == "username":
        _add(found, "usernames", text.strip())
    elif indicator in {"actor_id", "trace_id"}:
        _add(found, f"{indicator}s", text.strip())
    elif indicator == "aws_account_id":
        if re.fullmatch("[0-9]{12}", text):
            _add(found, "aws_account_ids", text)
    elif indicator == "aws_instance_id":
        if text.startswith("i-") and (not inside_json or len(text) in {10, 19}):
            _add(found, "aws_instance_ids", text)
    elif indicator == "aws_arn":
        _indicate_arn(text, found)


def _indicate_arn(text: str, found: Found) -> None:
    parts = text.split(":", 5)
    if parts[0] != "arn" or len(parts) < 6 or not (parts[1] and parts[2] and parts[5]):
        return
    _add(found, "aws_arns", text)
    if re.fullmatch("[0-9]{12}", parts[4]):
        _add(found, "aws_account_ids", parts[4])
    if parts[5].startswith("instance/i-"):
        _add(found, "aws_instance_ids", parts[5].removeprefix("instance/"))
    if parts[5].startswith("assumed-role/") and "@" in parts[5].rpartition("/")[2]:
        _add(found, "emails", parts[5].rpartition("/")[2])


# --- detect -----------------------------------------------------------------------------------------------


class ReadOnly(Mapping[str, Any]):
    """What rules see: made once per event, wraps what it hands out."""

    def __init__(self, data: Event) -> None:
        self._data = data

    def _name(self, key: str) -> str:
        """Keys are found in any case."""
        if key in self._data:
            return key
        folded = key.lower()
        return next((name for name in self._data if name.lower() == folded), key)

    def __getitem__(self, key: str) -> Any:
        return _wrapped(self._data[self._name(key)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def deep_get(self, *keys: str, default: Any = None) -> Any:
        """The value under a path."""
        value: Any = self
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return default if value is None else value

    def deep_walk(self, *keys: str, default: Any = None) -> Any:
        """The value or values under a path that may lead through lists."""
        values = list(dict.fromkeys(_walk(self._data, keys)))
        return default if not values else values[0] if len(values) == 1 else values


class ReadOnlyList(Sequence[Any]):
    """A list that rules see."""

    def __init__(self, data: list[Any]) -> None:
        self._data = data

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self._data[index])

    def __len__(self) -> int:
        return len(self._data)


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return ReadOnly(value)
    if isinstance(value, list):
        return ReadOnlyList(value)
    return value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, ReadOnly | ReadOnlyList):
        return value._data
    raise TypeError(f"not JSON: {value!r}")


def _walk(value: Any, keys: Sequence[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _walk(part, keys)
    elif not keys:
        yield value
    elif isinstance(value, dict) and keys[0] in value:
        yield from _walk(value[keys[0]], keys[1:])


class Rules:
    """All rules of a folder, each a module."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._modules = [(name, _load(folder / f"{name}.py")) for name in names]

    def matches(self, event: Event) -> list[dict[str, Any]]:
        """One entry for each rule that says yes."""
        seen = ReadOnly(event)
        matches = []
        for name, module in self._modules:
            try:
                if module.rule(seen) is not True:
                    continue
            except Exception as error:
                raise RuntimeError(f"{name} failed") from error
            matches.append(
                {
                    "detection_id": name,
                    "row_id": event["p_row_id"],
                    "title": module.title(seen),
                    "dedup": module.dedup(seen),
                    "context": json.dumps(module.alert_context(seen), default=_unwrapped),
                }
            )
        return matches


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"naive_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the way ----------------------------------------------------------------------------------------------


def read(data: bytes, normaliser: Normaliser) -> list[Event]:
    """The events of a gzip object."""
    records = json.loads(gzip.decompress(data))["Records"]
    return [normaliser.event(record, ordinal) for ordinal, record in enumerate(records)]


def to_parquet(events: list[Event], schema: pa.Schema) -> bytes:
    """The rows as one file of the lake."""
    rows = [_row(event, schema) for event in events]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd", compression_level=1)
    return sink.getvalue()


def _row(event: Event, schema: pa.Schema) -> Event:
    row = {}
    for field in schema:
        value = event.get(field.name)
        if value is not None:
            row[field.name] = _cell(value, field.type)
    return row


def _cell(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value[:26]).replace(tzinfo=UTC)
    if pa.types.is_struct(kind):
        return {field.name: _cell(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_cell(part, kind.value_type) for part in value]
    if pa.types.is_string(kind) and not isinstance(value, str):
        return json.dumps(value)
    return value
