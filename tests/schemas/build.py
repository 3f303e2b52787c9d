"""Small helpers: a schema from YAML text, and what a record becomes under it."""

from __future__ import annotations

import textwrap
from typing import Any

import orjson

from ingestd.schemas import Classifier, Rejected, Session, SessionInfo
from ingestd.schemas.load import load_schemas
from ingestd.schemas.logtype import LogType

NOW = 1_700_000_000.25
NOW_TEXT = "2023-11-14 22:13:20.250000000"


def log_type(text: str) -> LogType:
    """The log type of a YAML text; `schema:` may be left out."""
    (schema,) = load_schemas(textwrap.dedent(text), "test.yml", "Custom.Test")
    return LogType(schema)


def session(*texts: str, **info: Any) -> Session:
    """A session over the log types of the YAML texts, with a clock that stands still."""
    classifier = Classifier([log_type(text) for text in texts])
    return classifier.session(SessionInfo(identity="file:/x#1", **info), clock=lambda: NOW)


def read(text: str, record: Any, **info: Any) -> dict[str, Any]:
    """The event that a record becomes; `record` is bytes or a value to write as JSON."""
    data = record if isinstance(record, bytes) else orjson.dumps(record)
    found = session(text, **info).read(data, 0)
    assert isinstance(found, dict), found
    return found


def refused(text: str, record: Any) -> Rejected:
    """Why a record is no event."""
    data = record if isinstance(record, bytes) else orjson.dumps(record)
    found = session(text).read(data, 0)
    assert isinstance(found, Rejected), found
    return found


def declared(event: dict[str, Any]) -> dict[str, Any]:
    """The event without standard fields."""
    return {name: value for name, value in event.items() if not name.startswith("p_")}


def one_field(**attributes: Any) -> str:
    """A schema with the one field `f`, as YAML (which JSON is)."""
    return orjson.dumps({"fields": [{"name": "f", **attributes}]}).decode()
