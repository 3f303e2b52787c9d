"""Tests that detections carry: verdicts, mocks, expectations, all kinds, several processes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from ingestd.detections import kv
from ingestd.detections.testing import forked, suite
from ingestd.detections.testing.case import TestResult
from ingestd.errors import ConfigError
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"
NO = "def rule(event):\n    return False\n"


def case(expected: bool, log: Any = None, **keys: Any) -> dict[str, Any]:
    """A test as a detection's YAML has it."""
    return {"Name": "t", "ExpectedResult": expected, "Log": {} if log is None else log, **keys}


def run(fork: Fork, code: str | None, *tests: dict[str, Any], **keys: Any) -> list[TestResult]:
    """The results of a rule's tests."""
    fork.rule("My.Rule", code, Tests=list(tests), **keys)
    return suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings()).results


@pytest.mark.parametrize(
    ("code", "expected", "passed"),
    [
        (YES, True, True),
        (YES, False, False),
        (NO, False, True),
        (NO, True, False),
        (YES + "def title(event):\n    return event['gone']\n", True, False),
        (YES + "def title(event):\n    return 5\n", True, False),
        (YES + "def severity(event):\n    return 'Urgent'\n", True, False),
        (NO + "def title(event):\n    return event['gone']\n", False, True),
        ("def rule(event):\n    return event['gone']\n", False, False),
        ("def rule(event):\n    return None\n", False, False),
        ("def rule(event):\n    raise SystemExit\n", True, False),
    ],
)
def test_verdicts(fork: Fork, code: str, expected: bool, passed: bool) -> None:
    """An expected alert needs every function to succeed; where none is expected only rule() counts."""
    (result,) = run(fork, code, case(expected))
    assert result.passed is passed
    assert bool(result.errors) is not passed


def test_a_failure_says_where_and_what(fork: Fork) -> None:
    """File and line of the test, expected and got, file and line in the code, and what was printed."""
    code = "def rule(event):\n    print('looking')\n    return event['gone']\n"
    first, second = run(fork, code, case(True), case(False, Name="second"))
    assert first.errors == ["expected rule() to be True, got KeyError: 'gone': My.Rule.py, line 3, in rule"]
    assert first.printed == "looking\n"
    lines = Path(first.file).read_text().splitlines()
    assert "t" in lines[suite.line_of(first) - 1]
    assert "second" in lines[suite.line_of(second) - 1]


def test_policies(fork: Fork) -> None:
    """Get the plain resource and alert when they say False."""
    code = "def policy(resource):\n    assert type(resource) is dict\n    return resource['ok']\n"
    tests = [{"Name": "t", "ExpectedResult": ok, "Resource": {"ok": ok}} for ok in (True, False)]
    fork.rule("P", code, AnalysisType="policy", ResourceTypes=["X"], Tests=tests)
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    assert [(result.kind, result.actual, result.passed) for result in report.results] == [
        ("policy", True, True),
        ("policy", False, True),
    ]


def test_mocks_replace_names_of_the_rule_module(fork: Fork) -> None:
    """Functions and constants alike become real mocks, for one test; an unknown name fails the test."""
    fork.helper("net_helper", "def fetch(x):\n    return 'real'\n")
    code = """
        from unittest.mock import MagicMock
        from net_helper import fetch
        ALLOWED = ["x"]
        def rule(event):
            allowed = ALLOWED() if isinstance(ALLOWED, MagicMock) else ALLOWED
            return fetch(event) == event.get("want") and allowed == event.get("allowed")
    """
    mocks = [{"objectName": "fetch", "returnValue": "mocked"}, {"objectName": "ALLOWED", "returnValue": "m"}]
    results = run(
        fork,
        code,
        case(True, {"want": "mocked", "allowed": "m"}, Mocks=mocks),
        case(True, {"want": "real", "allowed": ["x"]}),
        case(True, Mocks=[{"objectName": "gone", "returnValue": 1}]),
    )
    assert [result.passed for result in results] == [True, True, False]
    assert "cannot mock" in results[2].errors[0]


def test_state_starts_empty_in_each_test(fork: Fork) -> None:
    """Rules with state are tested without mocks, against a store that is gone afterwards."""
    code = """
        from panther_detection_helpers.caching import increment_counter
        def rule(event):
            return increment_counter("k") == 1
    """
    results = run(fork, code, case(True), case(True))
    assert [result.passed for result in results] == [True, True]
    with pytest.raises(kv.NoStore):
        kv.request(kv.Request(operation="get", key="k"))


@pytest.mark.parametrize(
    ("expectation", "passed"),
    [
        ({"ExpectedTitle": "T"}, True),
        ({"ExpectedTitle": "X"}, False),
        ({"ExpectedDedup": "D"}, True),
        ({"ExpectedSeverity": "Low"}, True),
        ({"ExpectedSeverity": "High"}, False),
        ({"ExpectedAlertContext": {"a": [1]}}, True),
        ({"ExpectedAlertContext": {"a": 1}}, False),
        ({"ExpectedDestinations": ["soc"]}, True),
        ({"ExpectedDestinations": []}, False),
        ({"ExpectedDestinations": ["soc", "dev"]}, False),
    ],
)
def test_expectations_beyond_the_verdict(fork: Fork, expectation: dict[str, Any], passed: bool) -> None:
    """A test may state title, dedup, severity, context and destinations."""
    code = YES + (
        "def title(event): return 'T'\ndef dedup(event): return 'D'\ndef severity(event): return 'low'\n"
        "def alert_context(event): return {'a': [1]}\ndef destinations(event): return ['soc']\n"
    )
    (result,) = run(fork, code, case(True, **expectation))
    assert result.passed is passed


def test_expectations_meet_what_the_alert_falls_back_to(fork: Fork) -> None:
    """Without functions of its own the alert has the YAML's title, severity and destinations."""
    wanted: dict[str, Any] = {
        "ExpectedTitle": "Shown",
        "ExpectedDedup": "defaultDedupString:My.Rule",
        "ExpectedSeverity": "Low",
    }
    wanted |= {"ExpectedDestinations": ["soc"], "ExpectedAlertContext": {}}
    (result,) = run(fork, YES, case(True, **wanted), DisplayName="Shown", Severity="Low", OutputIds=["soc"])
    assert result.errors == []


def test_nobody_is_expected_as_an_empty_list(fork: Fork) -> None:
    """As a rule returns it."""
    code = YES + "def destinations(event): return []\n"
    (result,) = run(fork, code, case(True, ExpectedDestinations=[]))
    assert result.passed


def test_unknown_destinations(fork: Fork) -> None:
    """Fail only when the destinations that exist are given."""
    fork.rule("A", YES + "def destinations(event): return ['soc']\n", Tests=[case(True)])
    loaded = suite.load_for_tests((str(fork.root),))
    assert suite.run_all(loaded, suite.Settings()).passed
    assert suite.run_all(loaded, suite.Settings(destinations=("soc",))).passed
    assert not suite.run_all(loaded, suite.Settings(destinations=("other",))).passed


def test_standard_fields_follow_the_sample(fork: Fork) -> None:
    """The data model is that of the sample's p_log_type."""
    mappings = [{"Name": "who", "Path": "user"}]
    model = {"AnalysisType": "datamodel", "DataModelID": "M", "LogTypes": ["Test.Log"], "Enabled": True}
    fork.item("data_models/m.yml", model | {"Mappings": mappings})
    code = "def rule(event):\n    return event.udm('who') == 'ana'\n"
    results = run(fork, code, case(True, {"user": "ana", "p_log_type": "Test.Log"}), case(False, {"user": "ana"}))
    assert [result.passed for result in results] == [True, True]


def test_filters_and_yaml_rules_are_tested_too(fork: Fork) -> None:
    """Without any service that would evaluate them elsewhere."""
    filters = [{"KeyPath": "env", "Condition": "Equals", "Value": "prod"}]
    fork.rule("A", YES, InlineFilters=filters, Tests=[case(True, {"env": "prod"}), case(False, {"env": "x"})])
    detection = [{"Key": "env", "Condition": "Equals", "Value": "prod"}]
    fork.rule("B", Detection=detection, Tests=[case(True, {"env": "prod"}), case(False, {"env": "x"})])
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    assert [(result.id, result.passed) for result in report.results] == [("A", True)] * 2 + [("B", True)] * 2


def test_halves_of_characters_break_no_run(fork: Fork) -> None:
    """A rule may print, and tell, what no file can hold."""
    code = "def rule(event):\n    print('p\\ud800')\n    return True\ndef alert_context(event):\n"
    fork.rule("Rule.A", code + "    return {'who': 'w\\ud800'}\n", Tests=[case(True)])
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    [result] = report.results
    assert (result.passed, result.printed) == (True, "p\\ud800\n")
    assert result.alert is not None
    assert result.alert.context == {"who": "w\ufffd"}


def test_correlation_rules_are_tested_too(fork: Fork) -> None:
    """On the sightings that their tests describe."""
    for name in "AB":
        fork.rule(f"Rule.{name}", YES)
    steps = [{"ID": name, "RuleID": f"Rule.{name}"} for name in "AB"]
    outputs = [{"ID": name, "Matches": {"user": {"ana": [0]}}} for name in "AB"]
    tests = [
        {"Name": "both", "ExpectedResult": True, "RuleOutputs": outputs},
        {"Name": "one", "ExpectedResult": False, "RuleOutputs": outputs[:1]},
        {"Name": "bad", "ExpectedResult": True, "RuleOutputs": outputs[1:]},
    ]
    fork.rule("C", AnalysisType="correlation_rule", Detection=[{"Group": steps}], Tests=tests)
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    assert [(result.name, result.passed) for result in report.results] == [
        ("both", True),
        ("one", True),
        ("bad", False),
    ]
    assert report.failed.keys() == {"C"}


def test_derived_detections_are_tested(fork: Fork) -> None:
    """With the tests, the code and the keys of their base, and the base's lines, as far as they have none."""
    code = "def rule(event):\n    return event.get('env') == 'prod'\n"
    base = fork.rule("Base", code, Severity="Low", Tests=[case(True, {"env": "prod"}, ExpectedSeverity="Low")])
    derived = {"AnalysisType": "rule", "BaseDetection": "Base", "Enabled": True, "Severity": "High"}
    fork.item("rules/one.yml", derived | {"RuleID": "One"})
    own = case(True, {"env": "prod"}, ExpectedSeverity="High")
    fork.item("rules/two.yml", derived | {"RuleID": "Two", "Tests": [own, case(False)]})
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    outcome = {(result.id, result.index): result.passed for result in report.results}
    assert outcome == {("Base", 0): True, ("One", 0): False, ("Two", 0): True, ("Two", 1): True}
    one = next(result for result in report.results if result.id == "One")
    assert one.errors == ["expected severity 'LOW', got 'HIGH'"]
    assert f"{one.file}:{suite.line_of(one)}" == f"{base}:{base.read_text().splitlines().index('Tests:') + 2}"


def test_what_is_derived_of_what_is_derived_is_refused(fork: Fork) -> None:
    """With the name of the base to derive from."""
    fork.rule("Base", YES)
    for name, base in (("One", "Base"), ("Two", "One")):
        data = {"AnalysisType": "rule", "RuleID": name, "BaseDetection": base, "Enabled": True}
        fork.item(f"rules/{name}.yml", data)
    with pytest.raises(ConfigError, match=r"One is derived itself \(derive from Base\)"):
        fork.load()


def test_a_policy_cannot_change_the_samples_of_others(fork: Fork) -> None:
    """Samples that share a part by an anchor are copies of their own."""
    shared = {"tags": {"a": 1}}
    tests = [{"Name": name, "ExpectedResult": True, "Resource": shared} for name in "tu"]
    code = "def policy(resource):\n    return resource['tags'].pop('a') == 1\n"
    fork.rule("P", code, AnalysisType="policy", ResourceTypes=["X"], Tests=tests)
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    assert [result.passed for result in report.results] == [True, True]


def test_a_rule_that_never_returns(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails after its time, also where it catches everything; all others are tested."""
    monkeypatch.setattr(suite, "LIMIT_SECS", 0.5)
    forever = "def rule(event):\n    while True:\n        pass\n"
    fork.rule("A", forever, Tests=[case(True)])
    fork.rule("B", YES, Tests=[case(True)])
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings(jobs=1))
    assert [result.passed for result in report.results] == [False, True]
    assert "RuleTimeout: the test took longer than 0.5 s: A.py, line " in report.failed["A"][0]


def test_endless_output_is_cut(fork: Fork) -> None:
    """What is kept of it has a limit."""
    (result,) = run(
        fork, "def rule(event):\n    print('x' * 1_000_000)\n    print('y')\n    return True\n", case(True)
    )
    assert result.passed
    assert len(result.printed) == 100_000


def test_a_child_that_is_silent_is_replaced() -> None:
    """What it was at is named, the rest of its share goes to another."""

    def work(name: str) -> bytes:
        if name == "b":
            signal.pause()
        return name.encode()

    def lost(name: str, how: str) -> bytes:
        return f"{name} {how}".encode()

    answers = forked.run("abcd", work, lost, jobs=1, share=4, silence_secs=0.2)
    assert sorted(answers) == [b"a", b"b gave no answer for 0.2 s", b"c", b"d"]


def test_a_detection_that_forks(fork: Fork) -> None:
    """Gives one answer, and the blame for what comes after it is not shifted by a second one."""
    fork.rule("A", "import os\ndef rule(event):\n    os.fork()\n    return True\n", Tests=[case(True)])
    fork.rule("B", "import os\ndef rule(event):\n    os._exit(3)\n", Tests=[case(True)])
    fork.rule("C", YES, Tests=[case(True)])
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings(jobs=1))
    assert [(result.id, result.passed) for result in report.results] == [("A", True), ("B", False), ("C", True)]
    assert report.results[1].errors == ["B ended the process that ran it (exit code 3)"]


def test_a_detection_that_takes_all_memory(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gets a MemoryError before the machine has none left."""
    monkeypatch.setattr(forked, "GROWTH_BYTES", 64 << 20)
    code = "def rule(event):\n    kept = []\n    while True:\n        kept.append(bytearray(1 << 20))\n"
    fork.rule("A", code, Tests=[case(True)])
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings(jobs=1))
    assert "MemoryError" in report.results[0].errors[0]


def test_nothing_tested_is_no_success(fork: Fork) -> None:
    """A folder without tests does not pass, and what has no tests is named."""
    fork.rule("A", YES)
    report = suite.run_all(suite.load_for_tests((str(fork.root),)), suite.Settings())
    assert not report.passed
    assert report.untested == ["A"]


def test_a_minimum_of_tests(fork: Fork) -> None:
    """Too few fail; above one, both expectations are wanted."""
    fork.rule("One", YES, Tests=[case(True)])
    fork.rule("Two", YES, Tests=[case(True), case(True)])
    loaded = suite.load_for_tests((str(fork.root),))
    assert suite.run_all(loaded, suite.Settings(minimum=1)).passed
    assert suite.run_all(loaded, suite.Settings(minimum=2)).failed == {
        "One": [f"{fork.root}/rules/One.yml:8: has 1 test, 2 are wanted"],
        "Two": [f"{fork.root}/rules/Two.yml:8: needs a test that expects true and one that expects false"],
    }


def test_several_processes_and_another_order_change_nothing(fork: Fork) -> None:
    """Rules do not lean on each other's state."""
    for number in range(60):
        fork.rule(f"R{number:02}", YES, Tests=[case(number % 2 == 0), case(True, Name="u")])
    loaded = suite.load_for_tests((str(fork.root),))
    plain = suite.run_all(loaded, suite.Settings())
    other = suite.run_all(loaded, suite.Settings(jobs=2, shuffle_seed=7))
    assert [(result.id, result.name, result.passed) for result in plain.results] == [
        (result.id, result.name, result.passed) for result in other.results
    ]
    assert len(plain.results) == 120


def test_a_choice_of_detections_and_tests(fork: Fork) -> None:
    """By id and by name."""
    for name in "AB":
        fork.rule(name, YES, Tests=[case(True), case(True, Name="u")])
    loaded = suite.load_for_tests((str(fork.root),))
    report = suite.run_all(loaded, suite.Settings(ids=("A",), names=("u",)))
    assert [(result.id, result.name) for result in report.results] == [("A", "u")]
