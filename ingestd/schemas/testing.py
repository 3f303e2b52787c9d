"""Schema tests: `*_tests.yml`, YAML documents with `name`, `logType`, `input` and `result` or `results`.

`input` is the text of one record; for text parsers each of its lines is one. `result` is the normalised
event, as JSON text or YAML; `results` a list of them, empty when nothing may come out. Fields must be equal.
Of the `p_` fields only those are compared that the result names, and none that differ from run to run; a
`strict` run also demands that `p_event_time` and every `p_any_*` list is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson

from ingestd.errors import ConfigError, Problem
from ingestd.schemas import timestamps
from ingestd.schemas.registry import Registry
from ingestd.schemas.session import Rejected, SessionInfo
from ingestd.schemas.yamlnodes import Map, Seq, parse

_VOLATILE = frozenset(
    {"p_row_id", "p_parse_time", "p_schema_version", "p_source_id", "p_source_label", "p_source_file"}
)
_TIME = timestamps.reader_of(("rfc3339",))


class SchemaTest(msgspec.Struct, frozen=True):
    """One test and where it stands."""

    name: str
    log_type: str
    input: str
    results: tuple[dict[str, Any], ...]
    file: str
    line: int


def _result(value: Any) -> dict[str, Any]:
    decoded = orjson.loads(value) if isinstance(value, str) else value
    if not isinstance(decoded, dict):
        raise ValueError("a result must be an object")  # noqa: TRY004 - reported like a result that does not decode
    return decoded


def load_tests(file: Path) -> list[SchemaTest]:
    """The tests of a file. Raises ConfigError with all problems."""
    tests: list[SchemaTest] = []
    problems: list[Problem] = []
    for document in parse(file.read_text("utf-8"), str(file)):
        if not isinstance(document, Map):
            continue
        line = document.line
        missing = [key for key in ("logType", "input") if key not in document]
        if missing or ("result" not in document) == ("results" not in document):
            need = ", ".join(missing) or "either result or results"
            problems.append(Problem(f"a schema test needs {need}", file=str(file), line=line))
            continue
        wanted = document["results"] if "results" in document else [document["result"]]
        try:
            results = tuple(_result(value) for value in (wanted if isinstance(wanted, (Seq, list)) else [wanted]))
        except ValueError as error:
            problems.append(Problem(f"the result does not decode: {error}", file=str(file), line=line))
            continue
        given = document["input"]
        text = given if isinstance(given, str) else orjson.dumps(given).decode()
        name = str(document.get("name", document["logType"]))
        tests.append(SchemaTest(name, str(document["logType"]), text, results, str(file), line))
    if problems:
        raise ConfigError(problems)
    return tests


def run_test(registry: Registry, test: SchemaTest, *, strict: bool = False) -> list[str]:
    """What is wrong, one line each; empty when the test passes."""
    kind = registry.get(test.log_type)
    session = registry.classifier((test.log_type,)).session(SessionInfo(identity=f"test:{test.name}"))
    records = test.input.splitlines() if kind.schema.is_text else [test.input]
    events: list[dict[str, Any]] = []
    failures: list[str] = []
    for ordinal, record in enumerate(records):
        read = session.read(record.encode(), ordinal)
        for one in read if isinstance(read, list) else [read]:
            if isinstance(one, Rejected):
                if test.results:
                    failures.append(f"rejected: {one.reason}: {one.detail}")
            elif one is not None:
                events.append(one)
    if len(events) != len(test.results) and not failures:
        failures.append(f"{len(events)} events came out, {len(test.results)} were expected")
    for event, wanted in zip(events, test.results, strict=False):
        failures.extend(_differences(event, wanted, strict=strict))
    return failures


def _differences(event: dict[str, Any], wanted: dict[str, Any], *, strict: bool) -> list[str]:
    found = []
    for name in sorted({*event, *wanted}):
        if name in _VOLATILE:
            continue
        demanded = name.startswith("p_any_") or (
            name == "p_event_time" and event.get(name) != event.get("p_parse_time")
        )
        optional = name.startswith("p_") and not (strict and demanded)
        if name not in wanted and optional:
            continue
        if name not in event and wanted[name] is None:
            continue
        if name not in event:
            found.append(f"{name}: missing, expected {wanted[name]!r}")
        elif name not in wanted:
            found.append(f"{name}: not expected, but is {event[name]!r}")
        elif not same(event[name], wanted[name]):
            found.append(f"{name}: is {event[name]!r}, expected {wanted[name]!r}")
    return found


def same(left: Any, right: Any) -> bool:
    """Equal values; texts also when they name the same moment. Objects do not mind keys that are null."""
    if isinstance(left, dict) and isinstance(right, dict):
        return all(same(left.get(key), right.get(key)) for key in {*left, *right})
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if left == right:
        return True
    if isinstance(left, str) and isinstance(right, str):
        moment = _TIME(left)
        return bool(moment) and moment == _TIME(right)
    return False
