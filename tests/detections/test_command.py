"""`ingestd test`: what it prints, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from typer.testing import CliRunner

from ingestd.cli import watching
from ingestd.cli.main import app
from tests.detections.conftest import Fork

YES = "def rule(event):\n    print('seen')\n    return True\ndef title(event):\n    return 'T'\n"
NO = "def rule(event):\n    return False\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No option from the environment or a settings file, unless a test gives one."""
    for name in [name for name in os.environ if name.startswith(("INGESTD_", "PANTHER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def invoke(*arguments: str | Path) -> Any:
    """The command as it is."""
    return CliRunner().invoke(app, ["test", *map(str, arguments)])


def run(fork: Fork, *options: str) -> Any:
    """The command on the folder."""
    return invoke(fork.root, "--jobs", "1", *options)


def case(name: str, expected: bool, **more: Any) -> dict[str, Any]:
    """A test in a rule's YAML."""
    return {"Name": name, "ExpectedResult": expected, "Log": {}, **more}


def shown(result: Any) -> list[str]:
    """Ids of the detections that the text names."""
    return [line for line in result.stdout.splitlines() if line and not line.startswith(" ")]


def test_passing_tests(fork: Fork) -> None:
    """Exit code 0; each test by name."""
    fork.rule("A", YES, Tests=[case("first", True)])
    result = run(fork)
    assert result.exit_code == 0
    assert result.stdout == "A\n  pass  first\n"
    assert "1 tests (1 rule), 0 failed" in result.stderr


def test_failing_tests(fork: Fork) -> None:
    """Exit code 1; file and line, expected and got, what the functions gave, and what the rule printed."""
    path = fork.rule("A", YES, Tests=[case("first", True), case("second", False)])
    result = run(fork, "--show-failures-only")
    assert result.exit_code == 1
    line = path.read_text().splitlines().index("- Name: second") + 1
    assert result.stdout.splitlines() == [
        "A",
        "  FAIL  second",
        f"        {path}:{line}",
        "        expected rule() to be False, got True",
        "        title() gave 'T'",
        "        printed: seen",
    ]


def test_nothing_tested(fork: Fork) -> None:
    """Exit code 1: silence is no success."""
    fork.rule("A", YES)
    result = run(fork)
    assert result.exit_code == 1
    assert "no test was run" in result.stderr


def test_what_is_broken_keeps_nothing_else_from_being_tested(fork: Fork) -> None:
    """Exit code 1, every problem with file and line, and the tests of what is whole."""
    fork.rule("A", "def rule(event)\n", Tests=[case("first", True)])
    fork.rule("B", YES, Sverity="Low", Tests=[case("first", True)])
    fork.rule("C", YES, Tests=[case("first", True)])
    result = run(fork)
    assert result.exit_code == 1
    assert "A.py:1: syntax error" in result.stdout
    assert "B.yml:8: Sverity: unknown key for a rule (did you mean 'Severity'?)" in result.stdout
    assert result.stdout.startswith("C\n  pass  first\n")
    assert "2 problems in the files" in result.stderr
    assert "B" in shown(run(fork, "--ignore-extra-keys"))


def test_mistakes_in_tests_are_told(fork: Fork) -> None:
    """An expectation under a misspelt key would never be looked at."""
    fork.rule("A", YES, Tests=[case("first", True, ExpectedTitel="X"), {"Name": "n", "ExpectedResult": "yes"}])
    result = run(fork)
    assert result.exit_code == 1
    for said in (
        "Tests.0.ExpectedTitel: unknown key for a test of a rule (did you mean 'ExpectedTitle'?)",
        "Tests.1: Log is missing",
        "Tests.1.ExpectedResult: must be true or false, not 'yes'",
    ):
        assert said in result.stdout


def test_a_path_that_does_not_exist(fork: Fork) -> None:
    """Exit code 2."""
    assert invoke(fork.root / "gone").exit_code == 2


def test_a_path_that_is_no_yaml(fork: Fork) -> None:
    """Exit code 1, and what to name instead."""
    fork.rule("A", YES, Tests=[case("first", True)])
    result = invoke(fork.root / "rules" / "A.py")
    assert result.exit_code == 1
    assert "A.py: is no YAML: name the YAML that goes with it, or its folder" in result.stdout


def test_the_ways_to_name_a_path(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, by --path, by the environment, and the working folder if nothing is said."""
    fork.rule("A", YES, Tests=[case("first", True)])
    assert shown(invoke("--path", fork.root)) == ["A"]
    monkeypatch.setenv("PANTHER_PATH", str(fork.root))
    assert shown(invoke()) == ["A"]
    monkeypatch.setenv("PANTHER_PATH", "/nowhere")
    assert shown(invoke(fork.root)) == ["A"]
    assert invoke(fork.root, "--path", fork.root).exit_code == 2
    monkeypatch.delenv("PANTHER_PATH")
    monkeypatch.chdir(fork.root)
    assert shown(invoke()) == ["A"]


def test_a_minimum_of_tests_is_named(fork: Fork) -> None:
    """Also for detections whose tests all passed."""
    fork.rule("A", YES, Tests=[case("first", True)])
    result = run(fork, "--minimum-tests", "2")
    assert result.exit_code == 1
    assert f"A\n  pass  first\n  FAIL  {fork.root}/rules/A.yml:8: has 1 test, 2 are wanted\n" in result.stdout
    assert "0 failed; 1 detections with too few tests; " in result.stderr


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        (["Severity=high"], ["A", "B"]),
        (["Severity=high,LOW"], ["A", "B", "C"]),
        (["Severity!=High"], ["C"]),
        (["Tags=two"], ["B"]),
        (["Tags!=two"], ["A", "C"]),
        (["Severity=High", "Enabled=no"], ["B"]),
        (["RuleID=c"], ["C"]),
    ],
)
def test_filters(fork: Fork, filters: list[str], chosen: list[str]) -> None:
    """Any of the values of one filter, all of the filters, in any case; a list meets it by one of its members."""
    fork.rule("A", YES, Tests=[case("t", True)])
    fork.rule("B", YES, Enabled=False, Tags=["one", "Two"], Tests=[case("t", True)])
    fork.rule("C", YES, Severity="Low", Tests=[case("t", True)])
    options = [word for text in filters for word in ("--filter", text)]
    assert shown(run(fork, *options)) == chosen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sevrity=High", "'Sevrity' is no key of a detection (did you mean 'Severity'?)"),
        ("Severity", "is no filter: write KEY=VALUE"),
        ("Severity=", "is no filter: write KEY=VALUE"),
        ("Enabled=perhaps", "Enabled is true or false, not 'perhaps'"),
        ("Severity=Info", "no detection meets the filter"),
    ],
)
def test_filters_that_choose_nothing(fork: Fork, text: str, said: str) -> None:
    """Exit code 1, and why."""
    fork.rule("A", YES, Tests=[case("t", True)])
    result = run(fork, "--filter", text)
    assert result.exit_code == 1
    assert said in result.stderr


def test_choosing_files_tests_and_what_is_enabled(fork: Fork) -> None:
    """By path or pattern, by the test's name, and by whether it would run."""
    first = fork.rule("A", NO, Tests=[case("t", True)])
    fork.rule("B", YES, Enabled=False, Tests=[case("t", True)])
    fork.rule("C", YES, Tests=[case("t", True), case("other", True)])
    assert shown(run(fork, "--ignore-files", str(first))) == ["B", "C"]
    assert shown(run(fork, "--ignore-files", "*/A.yml", "--ignore-files", "*/B.yml")) == ["C"]
    assert run(fork, "--test-names", "other").stdout == "C\n  pass  other\n"
    skipping = run(fork, "--skip-disabled-tests")
    assert shown(skipping) == ["A", "C"]
    assert "1 detections skipped" in skipping.stderr


def test_sorted_results(fork: Fork) -> None:
    """What passed comes first, a blank line between two detections."""
    fork.rule("A", NO, Tests=[case("t", True)])
    fork.rule("B", YES, Tests=[case("t", True)])
    result = run(fork, "--sort-test-results")
    assert shown(result) == ["B", "A"]
    assert result.stdout.startswith("B\n  pass  t\n\nA\n  FAIL  t\n")


def test_destinations_that_exist(fork: Fork) -> None:
    """Once they are given, naming another one is a failure."""
    fork.rule("A", YES + "def destinations(event):\n    return ['soc']\n", Tests=[case("t", True)])
    assert run(fork).exit_code == 0
    assert run(fork, "--available-destination", "soc").exit_code == 0
    result = run(fork, "--available-destination", "dev")
    assert result.exit_code == 1
    assert "destinations() names 'soc', which does not exist" in result.stdout


def test_the_settings_file(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives options by their names; the environment and the command line win; what is unknown is told."""
    fork.rule("A", YES, Tests=[case("t", True)])
    fork.rule("B", YES, Severity="Low", Tests=[case("t", True)])
    text = f"minimum_tests: 2\npath: {fork.root}\nfilter: Severity=Low\napi_token: x\nminimum_test: 3\n"
    Path(".panther_settings.yml").write_text(text)
    result = invoke()
    assert result.exit_code == 1
    assert shown(result) == ["B"]
    assert "has 1 test, 2 are wanted" in result.stdout
    assert "'minimum_test' is no option of `ingestd test`" in result.stderr
    assert "api_token" not in result.stderr
    assert shown(invoke("--filter", "Severity=High", "--minimum-tests", "0")) == ["A"]
    monkeypatch.setenv("PANTHER_MINIMUM_TESTS", "1")
    assert invoke().exit_code == 0
    monkeypatch.setenv("INGESTD_MINIMUM_TESTS", "3")
    assert invoke().exit_code == 1
    Path(".panther_settings.yml").write_text("_filter: [Severity=High]\n")
    assert shown(invoke(fork.root)) == ["A"]


def test_options_that_have_nothing_to_do_here(fork: Fork) -> None:
    """Are accepted, so that a pipeline need not change."""
    fork.rule("A", YES, Tests=[case("t", True)])
    result = run(
        fork, "--workers", "9", "--ignore-table-names", "--valid-table-names", "a", "--valid-table-names", "b",
        "--api-token", "t", "--api-host", "h",
    )  # fmt: skip
    assert result.exit_code == 0


def test_json(fork: Fork) -> None:
    """One document: a summary, and every test with the alert that the detection makes."""
    path = fork.rule("A", YES, Tests=[case("first", True), case("second", False)])
    result = run(fork, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["summary"]["tests"] == 2
    assert document["summary"]["passed"] is False
    assert document["summary"]["kinds"] == {"rule": 2}
    first, second = document["tests"]
    assert first.pop("duration_seconds") >= 0
    assert first == {
        "id": "A", "name": "first", "kind": "rule", "expected": True, "actual": True, "passed": True, "title": "T",
        "dedup": "T", "severity": "HIGH", "alert_context": {}, "destinations": None, "errors": [],
        "file": str(path), "line": path.read_text().splitlines().index("- Name: first") + 1,
    }  # fmt: skip
    assert second["errors"] == ["expected rule() to be False, got True", "printed: seen"]


def test_junit(fork: Fork, tmp_path: Path) -> None:
    """A suite per detection, a case per test, failures with all that is known, problems of files as errors."""
    fork.rule("A", "def rule(event):\n    print('\\x1b[31m <&')\n    return True\n", Tests=[case("t", False)])
    fork.rule("B", "def rule(event)\n", Tests=[case("t", True)])
    fork.rule("C", YES, Enabled=False, Tests=[case("t", True)])
    file = tmp_path / "report.xml"
    assert run(fork, "--junit", str(file), "--skip-disabled-tests").exit_code == 1
    root = Xml.parse(file).getroot()
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    failure = root.find("./testsuite[@name='A']/testcase[@name='t']/failure")
    assert failure is not None
    assert failure.get("message") == "expected rule() to be False, got True"
    assert "printed: \ufffd[31m <&" in str(failure.text)
    error = root.find("./testsuite[@name='files']/testcase/error")
    assert error is not None
    assert "syntax error" in str(error.get("message"))


@pytest.mark.parametrize("ending", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_rule_that_ends_its_process(fork: Fork, ending: str) -> None:
    """Fails, by name; all others are tested."""
    fork.rule("A", YES, Tests=[case("t", True)])
    fork.rule("B", f"import os\ndef rule(event):\n    {ending}\n", Tests=[case("t", True)])
    fork.rule("C", YES, Tests=[case("t", True)])
    result = run(fork)
    assert result.exit_code == 1
    assert shown(result) == ["A", "B", "C"]
    assert "B ended the process that ran it (" in result.stdout
    assert "3 tests (2 rule), 1 failed" in result.stderr


def test_a_rule_that_writes_past_its_output(fork: Fork) -> None:
    """Does not spoil what scripts read."""
    fork.rule("A", "import os\ndef rule(event):\n    os.write(1, b'x')\n    return True\n", Tests=[case("t", True)])
    command = [sys.executable, "-m", "ingestd", "test", str(fork.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["summary"]["passed"] is True


def test_a_report_that_cannot_be_written(fork: Fork) -> None:
    """Exit code 2, and why."""
    fork.rule("A", YES, Tests=[case("t", True)])
    result = run(fork, "--junit", "/nowhere/report.xml")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_coverage(fork: Fork) -> None:
    """Lines of rules that no test ran; those of modules and of several processes together."""
    code = "LIMIT = 3\ndef rule(event):\n    if event.get('n', 0) > LIMIT:\n        return True\n    return False\n"
    one = case("t", False)
    fork.rule("A", code, Tests=[one])
    fork.rule("B", code, Tests=[one, case("u", True, Log={"n": 4})])
    result = run(fork, "--coverage", "--json")
    first, second = json.loads(result.stdout)["summary"]["coverage"]
    assert Path(first["file"]).name == "A.py"
    assert first["lines"] == 5
    assert first["missing"] == [4]
    assert second["missing"] == []
    text = run(fork, "--coverage")
    assert "coverage: 90.0 % of 10 lines in 2 files" in text.stderr
    assert "A.py" in text.stdout.splitlines()[-1]


def test_watching_sees_what_changes(fork: Fork) -> None:
    """Files that are new, gone or different, code beside a single YAML too; nothing else."""
    path = fork.rule("A", YES)
    before = watching.look([path])
    fork.write("rules/A.py", NO)
    fork.write("rules/notes.txt", "x")
    added = fork.write("rules/B.yml", "x: 1\n")
    assert watching.changed(before, watching.look([path])) == [str(fork.root / "rules/A.py"), str(added)]
    added.unlink()
    assert watching.changed(before, watching.look([path])) == [str(fork.root / "rules/A.py")]


@contextlib.contextmanager
def watcher_of(root: Path) -> Iterator[subprocess.Popen[str]]:
    """`ingestd test --watch`, ended with the test. Ctrl-C reaches it also where it does not reach us, as in a shell's
    background: what we handle ourselves is not ignored by who we start."""
    command = [sys.executable, "-m", "ingestd", "test", str(root), "--watch"]
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, ours)
    with watcher:
        try:
            yield watcher
        finally:
            watcher.kill()


def test_watching_runs_again(fork: Fork) -> None:
    """At each change, until Ctrl-C; the exit code is that of the last run."""
    fork.rule("A", YES, Tests=[case("t", True)])
    with watcher_of(fork.root) as watcher:
        assert watcher.stderr is not None
        told = iter(watcher.stderr.readline, "")
        assert "1 tests (1 rule), 0 failed" in next(line for line in told if "failed" in line)
        assert next(line for line in told if "waiting for a change" in line)
        fork.write("rules/A.py", NO)
        assert next(line for line in told if line == "changed: " + os.path.relpath(fork.root / "rules/A.py") + "\n")
        assert "1 tests (1 rule), 1 failed" in next(line for line in told if "failed" in line)
        assert next(line for line in told if "waiting for a change" in line)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(30) == 1
