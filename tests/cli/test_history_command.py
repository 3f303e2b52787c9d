"""`ingestd detections history`: times, and what there is to say without a daemon."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestd.cli.main import app
from ingestd.model import LoadedDetection
from ingestd.state import history
from ingestd.state.sqlite import SqliteState

DAY = 86_400.0
CONFIG = "sources: {inbox: {type: directory, path: inbox}}\nstate: {path: state.db}\n"


def loaded(version: str, *, enabled: bool = True) -> LoadedDetection:
    """Rule A as the workers tell of it."""
    return LoadedDetection(id="Rule.A", kind="rule", enabled=enabled, version=version)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration, and a rule that was added 40 days ago, changed 20 days ago and disabled yesterday."""
    (tmp_path / "ingestd.yml").write_text(CONFIG)
    now = time.time()

    async def fill() -> None:
        state = SqliteState.open(tmp_path / "state.db")
        for days, one in ((40, loaded("v1")), (20, loaded("v2")), (1, loaded("v2", enabled=False))):
            at = now - days * DAY
            await state.transact(lambda tx, one=one, at=at: history.record(tx, [one], at))  # type: ignore[misc]
        await state.close()

    asyncio.run(fill())
    return tmp_path


def run(folder: Path, *options: str) -> Any:
    """The command with this configuration."""
    return CliRunner().invoke(app, ["detections", "history", "-c", str(folder / "ingestd.yml"), *options])


def rows(result: Any) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_changes_newest_first(folder: Path) -> None:
    """Of all, of one detection, since a time or within one."""
    assert [row["what"] for row in rows(run(folder, "--json"))] == ["disabled", "changed", "added"]
    assert [row["what"] for row in rows(run(folder, "Rule.A", "--json", "--since", "30d"))] == ["disabled", "changed"]
    assert [row["what"] for row in rows(run(folder, "--json", "--limit", "1"))] == ["disabled"]
    assert "nothing was noted of 'Rule.B'" in run(folder, "Rule.B").stderr


def test_what_was_enabled(folder: Path) -> None:
    """At a time or so long ago; with --all also what was not."""
    assert [row["version"] for row in rows(run(folder, "--json", "--at", "30d"))] == ["v1"]
    assert [row["version"] for row in rows(run(folder, "--json", "--at", "10d"))] == ["v2"]
    assert rows(run(folder, "--json", "--at", "1h")) == []
    assert [row["enabled"] for row in rows(run(folder, "--json", "--at", "1h", "--all"))] == [False]
    assert "0 detections were enabled at 2001-01-01T00:00:00Z" in run(folder, "--at", "2001-01-01").stderr
    assert "0 detections were enabled at 1970-01-01T00:00:00Z" in run(folder, "--at", "99999999d").stderr


def test_times_that_are_none(folder: Path) -> None:
    """Exit code 2, and how to write one."""
    result = run(folder, "--at", "yesterday")
    assert result.exit_code == 2
    assert "'yesterday' is no time: write 2026-03-01" in result.stderr


def test_before_the_daemon_has_run(tmp_path: Path) -> None:
    """There is nothing to say, and no error."""
    (tmp_path / "ingestd.yml").write_text(CONFIG)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "no history yet" in result.stderr
