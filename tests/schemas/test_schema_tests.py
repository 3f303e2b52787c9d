"""`*_tests.yml`: samples and what must come out."""

from pathlib import Path

import pytest

from ingestd.errors import ConfigError
from ingestd.schemas import Registry
from ingestd.schemas.testing import load_tests, run_test, same

SCHEMA = """
schema: Custom.App
fields:
  - {name: at, type: timestamp, isEventTime: true}
  - {name: ip, type: string, indicators: [ip]}
"""
TESTS = """
name: good
logType: Custom.App
input: '{"at": "2023-01-01T00:00:00Z", "ip": "10.0.0.1"}'
result: '{"at": "2023-01-01T00:00:00Z", "ip": "10.0.0.1", "p_any_ip_addresses": ["10.0.0.1"]}'
---
name: wrong
logType: Custom.App
input: {ip: 10.0.0.1}
result: {ip: 10.0.0.2, at: null, x: 1}
---
name: refused as it should be
logType: Custom.App
input: '{"at": "x"}'
results: []
---
name: refused
logType: Custom.App
input: '{"at": "x"}'
result: {}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A log type and its tests in one folder."""
    (tmp_path / "app.yml").write_text(SCHEMA)
    (tmp_path / "app_tests.yml").write_text(TESTS)
    return Registry.load([tmp_path], builtin=False)


def test_tests_pass_or_say_what_differs(registry: Registry, tmp_path: Path) -> None:
    """Fields must be equal, times by their moment, p_ fields when the result names them."""
    failures = {test.name: run_test(registry, test) for test in load_tests(tmp_path / "app_tests.yml")}
    assert failures == {
        "good": [],
        "wrong": ["ip: is '10.0.0.1', expected '10.0.0.2'", "x: missing, expected 1"],
        "refused as it should be": [],
        "refused": ["rejected: invalid: at: 'x' is not a time of the format rfc3339"],
    }


def test_a_strict_run_wants_every_list_named(registry: Registry, tmp_path: Path) -> None:
    """Samples of built-in log types name their event time and indicators."""
    good = load_tests(tmp_path / "app_tests.yml")[0]
    assert run_test(registry, good, strict=True) == [
        "p_event_time: not expected, but is '2023-01-01 00:00:00.000000000'"
    ]


def test_bad_test_files_are_reported(tmp_path: Path) -> None:
    """What a test lacks is said with its line."""
    file = tmp_path / "x_tests.yml"
    file.write_text("name: a\nlogType: X\n---\nlogType: X\ninput: x\n---\nlogType: X\ninput: x\nresult: '['\n")
    with pytest.raises(ConfigError) as caught:
        load_tests(file)
    assert [problem.line for problem in caught.value.problems] == [1, 4, 7]


def test_the_documented_example_works(tmp_path: Path) -> None:
    """The schema and the sample of the documentation are what they say."""
    text = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    (tmp_path / "orders.yml").write_text(blocks[0])
    (tmp_path / "orders_tests.yml").write_text(blocks[-1])
    registry = Registry.load([tmp_path], builtin=False)
    assert registry.names == ["Custom.Shop.Orders"]
    assert [run_test(registry, test) for test in load_tests(tmp_path / "orders_tests.yml")] == [[]]


def test_sameness() -> None:
    """Booleans are no numbers; objects do not mind null."""
    assert same({"a": 1, "b": None}, {"a": 1.0})
    assert not same({"a": True}, {"a": 1})
    assert not same([1], [1, 2])
