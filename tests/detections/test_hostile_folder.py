"""A folder of detections in which somebody put what is no detection: each is told, its neighbours are loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingestd.detections import DetectionSet, Options
from ingestd.detections.loading import textfile, yaml12
from ingestd.detections.loading.idle import find
from ingestd.errors import Problem
from tests.detections.conftest import Fork

NO = "def rule(event):\n    return False\n"
HEAD = "AnalysisType: rule\nRuleID: Odd\nEnabled: true\nLogTypes: [Test.Log]\nSeverity: High\nFilename: Good.py\n"
SIXTEEN = "&a [x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x]"
BOMB = f"{HEAD}Tags:\n  - {SIXTEEN}\n" + "".join(
    f"  - &{name} [{', '.join([f'*{of}'] * 16)}]\n" for of, name in zip("abcdef", "bcdefg", strict=True)
)


def examine(fork: Fork) -> tuple[DetectionSet, list[str]]:
    """What could be loaded beside the rule `Good`, and what was told, paths relative to the folder."""
    fork.rule("Good", NO)
    loaded = DetectionSet.examine(Options(paths=(str(fork.root),), include_disabled=True, keep_tests=True))
    assert "Good" in loaded.runnables
    return loaded, [said(fork, problem) for problem in loaded.problems]


def said(fork: Fork, problem: Problem) -> str:
    """The problem as it is printed."""
    return str(problem).replace(f"{fork.root}/", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "not valid YAML: aliases stand for more than 1,000,000 values, or for what holds them"),
        (f"{HEAD}Reports: &r\n  A: [*r]\n", "aliases stand for more than 1,000,000 values, or for what holds them"),
        (HEAD + "Tests: " + "[" * 5_000, "rules/odd.yml:7: not valid YAML: more than 1,000 brackets are open here"),
        (HEAD.replace("Odd", '"Odd\\e[2J"'), "rules/odd.yml:2: RuleID: must be text without any of <>"),
        (HEAD.replace("Odd", '"O\\u202edd"'), "rules/odd.yml:2: RuleID: must be text without any of <>"),
        (HEAD.replace("Odd", "null"), "rules/odd.yml:1: RuleID is missing"),
        (HEAD.replace("Good.py", "x" * 5_000), "rules/odd.yml:6: Filename: the file 'xxx"),
        (HEAD.replace("Good.py", '"a\\0b"'), "rules/odd.yml:6: Filename: the file 'a\\x00b' does not exist"),
        (HEAD.replace("Good.py", "/dev/zero"), "rules/odd.yml:6: Filename: the file 'zero' does not exist"),
        (f"{HEAD}Threshold: {10**40}\n", "rules/odd.yml:7: Threshold: must be at most 2147483647"),
        (f"{HEAD}Threshold: {'9' * 6_000}\n", "not valid YAML: Exceeds the limit"),
        (f"{HEAD}Reports: !!python/object/apply:os.abort []\n", "could not determine a constructor for the tag"),
        ("\0\0\0", "rules/odd.yml: not valid YAML: unacceptable character"),
    ],
    ids=lambda value: value[:20] if value.startswith("rules") else None,
)
def test_what_a_yaml_may_hold(fork: Fork, text: str, problem: str) -> None:
    """Is told with its file, and takes no time."""
    (fork.root / "rules").mkdir()
    (fork.root / "rules/odd.yml").write_text(text)
    _, told = examine(fork)
    assert any(problem in one for one in told), told


def test_pipes_devices_and_large_files(fork: Fork) -> None:
    """Neither waited for nor read to an end that does not come."""
    rules = fork.root / "rules"
    rules.mkdir()
    os.mkfifo(rules / "pipe.yml")
    os.mkfifo(rules / "pipe.py")
    (rules / "endless.yml").symlink_to("/dev/zero")
    (rules / "gone.yml").symlink_to(rules / "nowhere.yml")
    for name in ("large.yml", "large.py"):
        (rules / name).touch()
        os.truncate(rules / name, textfile.MAX_BYTES + 1)
    fork.rule("Large", Filename="large.py")
    loaded, told = examine(fork)
    for expected in (
        "rules/pipe.yml: cannot be read: is no regular file",
        "rules/endless.yml: cannot be read: is no regular file",
        "rules/gone.yml: cannot be read: No such file or directory",
        "rules/large.yml: cannot be read: is larger than 16 MiB",
        "rules/large.py: cannot be read: is larger than 16 MiB",
    ):
        assert expected in told, told
    assert find(loaded, (str(fork.root),)) == []


def test_more_mistakes_than_anybody_reads(fork: Fork) -> None:
    """A hundred of one file are told."""
    fork.write("rules/odd.yml", HEAD + "".join(f"Key{number}: 1\n" for number in range(5_000)))
    fork.rule("Tests", NO, Tests=[{"Name": "t"}] * 5_000)
    _, told = examine(fork)
    assert len(told) == 200


def test_aliases_that_are_meant(fork: Fork) -> None:
    """Samples that share parts, and merge keys, are what aliases are for."""
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\nd: 'a & b * c'\n"
    assert yaml12.load(text.encode()) == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}], "d": "a & b * c",
    }  # fmt: skip


def test_a_detection_in_yaml_with_several_mistakes(fork: Fork) -> None:
    """Each has its line; a filter's mistake is not the code's."""
    fork.rule("Filter", NO, InlineFilters=[{"Key": "a", "Condition": "Exists"}, {"Key": "a", "Condition": "Equls"}])
    fork.rule(
        "Body",
        Detection=[{"Key": "a", "Condition": "Equals"}, {"Key": "a", "Condition": "Is"}],
        GroupBy=["a"],
        DynamicSeverities=[{"ChangeTo": "Urgent", "Conditions": []}],
    )
    _, told = examine(fork)
    assert "rules/Filter.yml:11: InlineFilters.1: unknown Condition 'Equls', did you mean 'Equals'?" in told
    assert "rules/Body.yml:8: Detection.0: Equals needs a Value or Values" in told
    assert any(one.startswith("rules/Body.yml:10: Detection.1: unknown Condition 'Is'") for one in told)
    assert any(one.startswith("rules/Body.yml:12: GroupBy: GroupBy needs Key") for one in told)
    assert any(one.startswith("rules/Body.yml:14: DynamicSeverities: ") for one in told)


def test_nothing_is_passed_over_that_was_told_already(fork: Fork) -> None:
    """A file that is not valid, and one that begins with a byte order mark, are not said to have no AnalysisType."""
    fork.write("rules/broken.yml", "RuleID: A\n AnalysisType: [\n")
    Path(fork.root, "rules/marked.yml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    loaded, _ = examine(fork)
    assert "Odd" in loaded.runnables
    assert find(loaded, (str(fork.root),)) == []
