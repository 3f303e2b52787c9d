"""`ingestd debug`: one test, with the rule's own output and a debugger."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.detections.conftest import Fork

CODE = """
import sys
def rule(event):
    found = event.get("n")
    print("looking at", found)
    return found == 1
def title(event):
    return event["name"].upper()
"""
TESTS = [
    {"Name": "one", "ExpectedResult": True, "Log": {"n": 1, "name": "ana"}},
    {"Name": "nameless", "ExpectedResult": True, "Log": {"n": 1}},
]


def debug(fork: Fork, *arguments: str, typed: str = "") -> Any:
    """The command in a process of its own, whose stdin and stdout are what a user has."""
    command = [sys.executable, "-m", "ingestd", "debug", *arguments, "--path", str(fork.root)]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60)


@pytest.fixture
def rule(fork: Fork) -> Fork:
    """A rule with two tests beside one that is broken."""
    fork.rule("Rule.One", CODE, Enabled=False, Tests=TESTS)
    fork.rule("Broken", "def rule(event)\n", Enabled=False)
    return fork


def test_what_each_function_gave_and_what_was_printed(rule: Fork) -> None:
    """By name or number; a rule that is not enabled too, and whatever else is broken."""
    by_name, by_number = debug(rule, "Rule.One", "one"), debug(rule, "Rule.One", "1")
    assert by_name.stdout.splitlines()[:3] == ["looking at 1", "rule() gave True", "title() gave 'ANA'"]
    assert by_name.stdout.splitlines()[3].startswith("pass  one  ")
    assert (by_name.returncode, by_number.stdout) == (0, by_name.stdout)


def test_a_failure_with_its_traceback(rule: Fork) -> None:
    """Exit code 1; the frames are the author's."""
    result = debug(rule, "Rule.One", "nameless")
    assert result.returncode == 1
    assert "debug.py" not in result.stderr
    assert 'Rule.One.py", line 8, in title\n    return event["name"].upper()' in result.stderr
    assert "title() raised KeyError: 'name': Rule.One.py, line 8, in title" in result.stdout


def test_stopping_before_the_first_line(rule: Fork) -> None:
    """The debugger sees the event and the rule's variables."""
    result = debug(rule, "Rule.One", "one", "--stop", typed="n\np found + 41\nc\n")
    assert "42" in result.stdout
    assert "pass  one" in result.stdout


def test_stopping_where_a_function_raises(rule: Fork) -> None:
    """At the line, with its variables; then the verdict."""
    result = debug(rule, "Rule.One", "nameless", "--post-mortem", typed="u\nu\np sorted(event)\nq\n")
    assert "['n']" in result.stdout
    assert "FAIL  nameless" in result.stdout


def test_leaving_the_debugger(rule: Fork) -> None:
    """Ends the command without a verdict."""
    result = debug(rule, "Rule.One", "one", "--stop", typed="q\n")
    assert result.returncode == 1
    assert "the debugger was left" in result.stderr
    assert "pass" not in result.stdout


def test_tests_that_are_not_right(fork: Fork) -> None:
    """Exit code 1, with file and line."""
    fork.rule("Rule.One", CODE, Tests=[*TESTS, None])
    result = debug(fork, "Rule.One", "3")
    assert result.returncode == 1
    assert "Tests.2: a test must be a mapping" in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Rule.On", "one"), "did you mean 'Rule.One'?"),
        (("Rule.One", "two"), "  1  one\n  2  nameless"),
        (("Rule.One", "3"), "Rule.One has no test '3'"),
    ],
)
def test_names_that_are_not_there(rule: Fork, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, with what there is."""
    result = debug(rule, *arguments)
    assert result.returncode == 2
    assert said in result.stderr
