"""The Dockerfile, as text: building it needs a registry."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.deploy.tools import REPOSITORY, run

DOCKERFILE = REPOSITORY / "Dockerfile"


def instructions() -> Iterator[tuple[str, str]]:
    """Name and arguments of each instruction, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield name, arguments.strip()


@pytest.fixture
def final() -> dict[str, list[str]]:
    """Arguments by instruction, of the stage that becomes the image."""
    stage: dict[str, list[str]] = {}
    for name, arguments in instructions():
        if name == "FROM":
            stage = {}
        stage.setdefault(name, []).append(arguments)
    return stage


def test_hadolint_finds_nothing() -> None:
    """No warning of any level."""
    found = run("hadolint", "--failure-threshold", "style", DOCKERFILE)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout


def test_it_runs_as_nobody_in_particular_behind_an_init(final: dict[str, list[str]]) -> None:
    """Not root, by number so that Kubernetes can check it; tini reaps orphans; no shell between it and signals."""
    assert final["USER"] == ["65532:65532"]
    assert json.loads(final["ENTRYPOINT"][0]) == ["tini", "--", "ingestd"]
    assert json.loads(final["CMD"][0]) == ["run"]
    assert final["STOPSIGNAL"] == ["SIGTERM"]


def test_docker_asks_the_daemon_itself_how_it_is(final: dict[str, list[str]]) -> None:
    """The health check is a command of ours: the image has no curl."""
    (check,) = final["HEALTHCHECK"]
    assert json.loads(check.partition("CMD ")[2]) == ["ingestd", "healthcheck"]


def test_it_says_what_it_is(final: dict[str, list[str]]) -> None:
    """The labels of the OCI that registries and scanners read."""
    labels = {label.partition("=")[0].rpartition(".")[2] for label in shlex.split(final["LABEL"][0])}
    assert {"title", "description", "licenses", "version", "revision", "created", "source", "name"} <= labels


def test_nothing_is_installed_that_is_not_locked() -> None:
    """Every package comes with its hash, as a wheel; the lock has the versions that the tests ran with."""
    installs = [arguments for name, arguments in instructions() if name == "RUN" and "install" in arguments]
    assert any("--require-hashes --only-binary :all: -r requirements.image.lock" in each for each in installs)
    tested = set(re.findall(r"^\S+==\S+", (REPOSITORY / "requirements.lock").read_text(), flags=re.MULTILINE))
    shipped = set(re.findall(r"^\S+==\S+", (REPOSITORY / "requirements.image.lock").read_text(), flags=re.MULTILINE))
    assert shipped <= tested, f"run scripts/lock: {sorted(shipped - tested)}"
    assert not {name for name in shipped if name.startswith(("pytest", "mypy", "ruff"))}


def test_what_is_copied_is_sent_to_the_builder() -> None:
    """The ignore file names what the Dockerfile copies and nothing else."""
    copied = {
        source.rstrip("/").removeprefix("./")
        for name, arguments in instructions()
        if name == "COPY" and "--from=" not in arguments
        for source in arguments.split()[:-1]
    }
    sent = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied
    assert all((REPOSITORY / name).exists() for name in copied)
