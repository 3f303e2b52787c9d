"""`ingestd test`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from ingestd.cli.main import app
from tests.detections.conftest import Fork

YES = "def rule(event):\n    print('seen')\n    return True\ndef title(event):\n    return 'T'\n"


def run(fork: Fork, *options: str) -> Any:
    """The command on the folder."""
    return CliRunner().invoke(app, ["test", str(fork.root), "--jobs", "1", *options])


def case(name: str, expected: bool) -> dict[str, Any]:
    """A test in a rule's YAML."""
    return {"Name": name, "ExpectedResult": expected, "Log": {}}


def test_passing_tests(fork: Fork) -> None:
    """Exit code 0; each test by name."""
    fork.rule("A", YES, Tests=[case("first", True)])
    result = run(fork)
    assert result.exit_code == 0
    assert result.stdout == "A\n  pass  first\n"
    assert "1 tests, 0 failed" in result.stderr


def test_failing_tests(fork: Fork) -> None:
    """Exit code 1; file and line, expected and got, and what the rule printed."""
    path = fork.rule("A", YES, Tests=[case("first", True), case("second", False)])
    result = run(fork, "--show-failures-only")
    assert result.exit_code == 1
    line = path.read_text().splitlines().index("- Name: second") + 1
    assert result.stdout.splitlines() == [
        "A",
        "  FAIL  second",
        f"        {path}:{line}",
        "        expected rule() to be False, got True",
        "        printed: seen",
    ]


def test_nothing_tested(fork: Fork) -> None:
    """Exit code 1: silence is no success."""
    fork.rule("A", YES)
    result = run(fork)
    assert result.exit_code == 1
    assert "no test was run" in result.stderr


def test_broken_detections(fork: Fork) -> None:
    """Exit code 1, every problem with file and line, and no traceback."""
    fork.rule("A", "def rule(event)\n")
    fork.rule("B", YES, Sverity="Low")
    result = run(fork)
    assert result.exit_code == 1
    assert "A.py:1: syntax error" in result.stderr
    assert "B.yml:8: Sverity: unknown key for a rule (did you mean 'Severity'?)" in result.stderr


def test_a_path_that_does_not_exist(fork: Fork) -> None:
    """Exit code 2."""
    assert CliRunner().invoke(app, ["test", str(fork.root / "gone")]).exit_code == 2


def test_a_minimum_of_tests_is_named(fork: Fork) -> None:
    """Also for detections whose tests all passed."""
    fork.rule("A", YES, Tests=[case("first", True)])
    result = run(fork, "--minimum-tests", "2")
    assert result.exit_code == 1
    assert "A\n  FAIL  has 1 tests, 2 are wanted\n" in result.stdout


def test_json(fork: Fork) -> None:
    """One document: a summary, and every test with all that was said."""
    path = fork.rule("A", YES, Tests=[case("first", True)])
    document = json.loads(run(fork, "--json").stdout)
    assert document["summary"]["tests"] == 1
    assert document["summary"]["passed"] is True
    (test,) = document["tests"]
    assert test.pop("duration_seconds") >= 0
    assert test == {
        "id": "A", "name": "first", "kind": "rule", "expected": True, "actual": True, "passed": True, "title": "T",
        "dedup": None, "severity": None, "alert_context": None, "destinations": None, "errors": [],
        "file": str(path), "line": path.read_text().splitlines().index("- Name: first") + 1,
    }  # fmt: skip
