"""Whose a version of a detection is: commits and authors from a git repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ingestd.detections.loading import provenance
from tests.detections.conftest import Fork

YES = "def rule(event):\n    return True\n"


def git(folder: Path, *arguments: str, author: str = "Ana", at: int = 1_700_000_000) -> str:
    """Run git there as somebody, at some time."""
    who = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": f"{author.lower()}@example.com"}
    who |= {"GIT_COMMITTER_NAME": author, "GIT_COMMITTER_EMAIL": "c@example.com"}
    when = {"GIT_AUTHOR_DATE": f"{at} +0000", "GIT_COMMITTER_DATE": f"{at} +0000"}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**who, **when, **alone}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(fork: Fork, author: str, at: int) -> str:
    """Commit all there is; its hash."""
    git(fork.root, "add", ".")
    git(fork.root, "commit", "-q", "-m", "change", author=author, at=at)
    return git(fork.root, "rev-parse", "HEAD")


@pytest.fixture
def repository(fork: Fork) -> Fork:
    """A folder that is a repository, with two rules of Ana's."""
    git(fork.root, "init", "-q")
    fork.rule("Rule.A", YES)
    fork.rule("Rule.B", YES)
    commit(fork, "Ana", 1_700_000_000)
    return fork


def test_the_last_change_of_a_detections_files(repository: Fork) -> None:
    """YAML and code count alike; a commit that touches others changes nothing."""
    first = git(repository.root, "rev-parse", "HEAD")
    repository.write("rules/Rule.B.py", YES + "# more\n")
    second = commit(repository, "Bo", 1_700_000_100)
    found = {one.id: one for one in repository.load(provenance=True).loaded()}
    assert (found["Rule.A"].commit, found["Rule.A"].author) == (first, "Ana <ana@example.com>")
    assert (found["Rule.B"].commit, found["Rule.B"].author) == (second, "Bo <bo@example.com>")
    assert found["Rule.B"].committed_at == 1_700_000_100


def test_what_is_not_committed_is_told(repository: Fork) -> None:
    """A changed file has its last commit and a mark; a new one has none."""
    first = git(repository.root, "rev-parse", "HEAD")
    repository.write("rules/Rule.A.py", YES + "# more\n")
    repository.rule("Rule.C", YES)
    found = {one.id: one.commit for one in repository.load(provenance=True).loaded()}
    assert found == {"Rule.A": f"{first}-dirty", "Rule.B": first, "Rule.C": ""}


def test_matches_carry_it(repository: Fork) -> None:
    """Matches and errors alike."""
    repository.rule("Rule.E", "def rule(event):\n    return event['gone']\n")
    head = commit(repository, "Bo", 1_700_000_100)
    matches = repository.engine(provenance=True).evaluate({"p_row_id": "1"}, "Test.Log")
    assert [match.kind for match in matches] == ["rule", "rule", "error"]
    assert matches[0].author == "Ana <ana@example.com>"
    assert (matches[2].commit, matches[2].author) == (head, "Bo <bo@example.com>")


def test_an_author_of_any_name(repository: Fork) -> None:
    """What stands in a commit's headers is its author's own, and breaks no load."""
    repository.write("rules/Rule.A.py", YES + "# more\n")
    commit(repository, "B\x01o\x02 1", 1_700_000_100)
    found = {one.id: one for one in repository.load(provenance=True).loaded()}
    assert found["Rule.A"].author == "B\x01o\x02 1 <b\x01o\x02 1@example.com>"
    assert found["Rule.A"].committed_at == 1_700_000_100


def test_without_a_repository(fork: Fork) -> None:
    """There is no commit, and nothing fails."""
    fork.rule("Rule.A", YES)
    assert fork.load(provenance=True).loaded()[0].commit == ""


def test_without_git_or_with_a_broken_repository(repository: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    (repository.root / ".git" / "HEAD").write_text("nonsense")
    assert repository.load(provenance=True).loaded()[0].commit == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance.last_changes([repository.root / "rules/Rule.A.py"]) == {}


def test_a_folder_inside_of_a_repository_with_odd_names(fork: Fork) -> None:
    """Files are known by their path from the repository's top, whatever letters they have."""
    git(fork.root, "init", "-q")
    inner = Fork(fork.root / "sécurité" / "my rules")
    inner.rule("Rule.Ü", YES)
    head = commit(fork, "Ana", 1_700_000_000)
    (one,) = inner.load(provenance=True).loaded()
    assert one.commit == head
