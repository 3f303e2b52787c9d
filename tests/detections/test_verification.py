"""Comparing routing with running everything, on events made from samples."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestd.cli.main import app
from ingestd.detections.routing import plan
from ingestd.detections.testing import suite, verification
from ingestd.detections.testing.mutations import is_small, mutate
from tests.detections.conftest import Fork

SAMPLE: dict[str, Any] = {"name": "Create", "user": {"type": "Root", "tags": ["a", {"b": 1}]}}
CODE = "def rule(event):\n    return event.get('name') == 'Create'\n"
FALLS = "def rule(event):\n    return event.get('name').startswith('C')\n"


def fill(fork: Fork) -> None:
    """Two rules, one of which fails on odd events, one of them not enabled."""
    test = {"Name": "t", "ExpectedResult": True, "Log": SAMPLE}
    fork.rule("A", CODE, Tests=[test])
    fork.rule("B", FALLS, Enabled=False, Tests=[test])


def test_mutations_leave_the_sample_alone_and_repeat() -> None:
    """Every event is a copy; the same seed makes the same ones; each kind of change is among them."""
    before = json.dumps(SAMPLE)
    made = [mutate(SAMPLE, [SAMPLE], random.Random(seed)) for seed in range(300)]
    again = [mutate(SAMPLE, [SAMPLE], random.Random(seed)) for seed in range(300)]
    assert json.dumps(SAMPLE) == before
    assert json.dumps(made) == json.dumps(again)
    assert any("name" not in event for event in made)
    assert any(event.get("name", "") is None for event in made)
    assert any(isinstance(event.get("name"), list) for event in made)
    assert any("NAME" in event for event in made)


def test_samples_that_cannot_be_copied_are_left_out() -> None:
    """One that holds itself, and one that is small on disk only."""
    itself: dict[str, Any] = {}
    itself["a"] = itself
    bomb: list[Any] = ["x"] * 10
    for _ in range(9):
        bomb = [bomb] * 10
    assert is_small(SAMPLE)
    assert not is_small(itself)
    assert not is_small({"a": bomb})


def test_sound_routing_has_no_difference(fork: Fork) -> None:
    """All rules are compared, enabled or not, on samples and made-up events, matches and errors alike."""
    fill(fork)
    found = verification.verify(suite.load_for_tests((str(fork.root),)), mutations=600, jobs=2)
    assert found.passed
    assert (found.log_types, found.rules, found.events) == (1, 2, 602)
    assert found.matches > 100
    assert found.errors > 10


def test_unsound_routing_is_told(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rule, the log type and the event."""
    fill(fork)
    monkeypatch.setattr(plan.Plan, "candidates", lambda plan, event: plan.runnables[1:])
    found = verification.verify(suite.load_for_tests((str(fork.root),)), mutations=0, jobs=1)
    assert not found.passed
    told = [(one.detection_id, one.log_type, one.kind) for one in found.differences]
    assert told == [("A", "Test.Log", "rule")] * 2
    assert found.differences[0].event == SAMPLE


def test_a_rule_that_ends_its_process_is_told(fork: Fork) -> None:
    """What could not be compared is no success."""
    test = {"Name": "t", "ExpectedResult": False, "Log": {}}
    fork.rule("A", "import os\ndef rule(event):\n    os._exit(3)\n", Tests=[test])
    found = verification.verify(suite.load_for_tests((str(fork.root),)), mutations=0, jobs=1)
    assert not found.passed
    assert found.broken_off == ["events from 0:Test.Log on: a rule ended the process that ran it (exit code 3)"]


def test_a_rule_that_never_returns_is_told(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and is not asked again; all others are compared to the end."""
    fill(fork)
    monkeypatch.setattr(verification, "LIMIT_SECS", 0.05)
    forever = "def rule(event):\n    while True:\n        pass\n"
    fork.rule("Rule.Forever", forever, Tests=[{"Name": "t", "ExpectedResult": False, "Log": {}}])
    found = verification.verify(suite.load_for_tests((str(fork.root),)), mutations=50, jobs=1)
    assert found.broken_off == ["Rule.Forever took longer than 0.05 s on an event of Test.Log"]
    assert found.events == 53
    assert found.matches > 0


def test_the_command(fork: Fork) -> None:
    """Counts for people, everything for scripts."""
    fill(fork)
    options = ["test", str(fork.root), "--verify-routing", "--mutations", "50"]
    text = CliRunner().invoke(app, options)
    assert text.exit_code == 0
    assert "routing: 52 events of 1 log types through 2 rules" in text.stderr
    document = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert document["summary"]["routing"]["passed"] is True
    assert document["summary"]["routing"]["events"] == 52
