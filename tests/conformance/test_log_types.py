"""Every built-in log type: a schema without mistakes, and samples that become what they should.

A log type is one YAML in `ingestd/schemas/builtin` with a `_tests.yml` beside it; this suite finds it there.
"""

from pathlib import Path

import pytest

from ingestd.schemas import Registry, SessionInfo
from ingestd.schemas.load import load_schemas
from ingestd.schemas.registry import BUILTIN
from ingestd.schemas.testing import load_tests, run_test

FILES = sorted(file for file in BUILTIN.glob("*.yml") if not file.stem.endswith("_tests"))
LEAST_SAMPLES = 3
TWINS = {"GSuite.Reports": "GSuite.ActivityEvent"}
"""The same records by another reading, which has to be asked for: a route must name the log type."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The built-in log types."""
    return Registry.load([])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_log_type(file: Path, registry: Registry) -> None:
    """The file bears its log type's name, names its documentation, and its samples come out as written."""
    (schema,) = load_schemas(file.read_text("utf-8"), str(file))
    assert schema.name == file.stem
    assert schema.description
    assert schema.reference_url.startswith("https://")
    tests = load_tests(file.with_name(f"{file.stem}_tests.yml"))
    assert len(tests) >= LEAST_SAMPLES
    failures = [f"{test.name}: {line}" for test in tests for line in run_test(registry, test, strict=True)]
    assert failures == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_samples_are_recognised_among_all(file: Path, registry: Registry) -> None:
    """A sample is of its own log type, or its twin, even when every known one is a candidate."""
    session_of = registry.classifier().session
    for test in load_tests(file.with_name(f"{file.stem}_tests.yml")):
        session = session_of(SessionInfo(identity=test.name))
        records = test.input.splitlines() if registry.schema(test.log_type).is_text else [test.input]
        found = [session.read(record.encode(), ordinal) for ordinal, record in enumerate(records)]
        flat = [event for one in found for event in (one if isinstance(one, list) else [one])]
        events = [event for event in flat if isinstance(event, dict)]
        if test.results:
            wanted = TWINS.get(test.log_type, test.log_type)
            assert {event["p_log_type"] for event in events} == {wanted}, test.name
            assert test.log_type in TWINS or len(events) == len(test.results), test.name


def test_names_known_without_a_schema_keep_everything(registry: Registry) -> None:
    """A log type known by name alone passes its records through whole."""
    names = [name for name in registry.names if not registry.schema(name).fields]
    for name in names:
        found = registry.classifier((name,)).session(SessionInfo(identity="x")).read(b'{"a": {"b": [1.5]}}', 0)
        assert isinstance(found, dict)
        assert found["a"] == {"b": [1.5]}
        assert found["p_unknown_fields"] == {"a": {"b": [1.5]}}
