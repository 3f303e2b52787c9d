"""Reload: a new configuration takes effect whole or not at all, and nothing under way is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ingestd import assembly
from ingestd.daemon import Daemon
from ingestd.errors import ConfigError, Problem
from ingestd.reload import Coalesced
from ingestd.workers.settings import CodeSpec
from tests.proofs import checker, hostile
from tests.proofs.site import Site

RULE = "def rule(event):\n    return event.get('eventName') == 'GetObject'\n"
RULE_YAML = (
    "AnalysisType: rule\nRuleID: Late\nFilename: late.py\nEnabled: true\nLogTypes: [AWS.CloudTrail]\nSeverity: Low\n"
)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Site, Daemon]]:
    """A daemon on an empty inbox, in this process, its workers in theirs; stopped at the end."""
    site = Site(tmp_path / "site")
    site.inbox.mkdir()
    daemon = Daemon(site.config, assembly.load_checked(site.config))
    task = asyncio.create_task(daemon.run())
    await _until(lambda: daemon.ready or task.done())
    yield site, daemon
    daemon.stop("the test is over")
    assert await asyncio.wait_for(task, 60) == 0


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        await asyncio.sleep(0.02)


def _drop(site: Site, name: str, folder: str = "inbox") -> None:
    """A file of one event, put in place whole."""
    target = site.folder / folder / name
    partial = target.with_suffix(".tmp")
    partial.write_text(json.dumps(hostile.record(name)) + "\n")
    os.rename(partial, target)


def _event_ids(site: Site) -> Counter[str]:
    with contextlib.suppress(FileNotFoundError):
        return Counter(str(row[0]) for row in checker.parquet_rows(site.lake, "events", ["eventID"]))
    return Counter()


def _matches(site: Site) -> list[str]:
    return [str(row[0]) for row in checker.parquet_rows(site.lake, "rule_matches", ["p_rule_id"])]


async def test_a_new_rule_runs_from_the_reload_on(running: tuple[Site, Daemon]) -> None:
    """Code is swapped; what was read before is not evaluated again."""
    site, daemon = running
    _drop(site, "before.log")
    await _until(lambda: _event_ids(site)["before.log"] == 1)
    (site.folder / "rules" / "late.py").write_text(RULE)
    (site.folder / "rules" / "late.yml").write_text(RULE_YAML)
    assert await daemon.reload() == []
    _drop(site, "after.log")
    await _until(lambda: _matches(site) == ["Late"])
    assert _event_ids(site) == Counter(["before.log", "after.log"])


@pytest.mark.parametrize(
    ("file", "text", "wanted"),
    [
        ("ingestd.yml", "sources: [\n", "ingestd.yml:"),
        ("ingestd.yml", "sourcs: {}\n", "did you mean 'sources'"),
        ("rules/loud.py", "def rule(event:\n", "loud.py:1"),
        ("rules/loud.yml", "AnalysisType: rule\nRuleID: World.Loud\n", "loud.yml"),
    ],
)
async def test_a_broken_reload_is_refused_with_its_place_and_the_old_code_goes_on(
    running: tuple[Site, Daemon], file: str, text: str, wanted: str
) -> None:
    """Whatever is wrong, the answer names the file, and the daemon works as before."""
    site, daemon = running
    (site.folder / file).write_text(text)
    problems = await daemon.reload()
    assert any(wanted in problem for problem in problems), problems
    _drop(site, "still-read.log")
    await _until(lambda: _event_ids(site)["still-read.log"] == 1)


async def test_a_source_that_is_added_is_read_and_one_that_is_removed_is_not(running: tuple[Site, Daemon]) -> None:
    """Only what changed is begun and ended."""
    site, daemon = running
    (site.folder / "second").mkdir()
    old = site.config.read_text()
    second = old.replace("  inbox:", "  second:").replace(str(site.inbox), str(site.folder / "second"))
    site.config.write_text(second)
    assert await daemon.reload() == []
    _drop(site, "ignored.log")
    _drop(site, "read.log", "second")
    await _until(lambda: _event_ids(site)["read.log"] == 1)
    assert _event_ids(site) == Counter(["read.log"])


async def test_what_a_running_daemon_cannot_change_is_refused(running: tuple[Site, Daemon]) -> None:
    """The state's path takes effect at a restart; the answer says so."""
    site, daemon = running
    site.config.write_text(site.config.read_text().replace("state.db", "other.db"))
    assert any("restart" in problem for problem in await daemon.reload())


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_secret_that_is_no_more_granted_is_refused_before_the_new_workers_start(
    running: tuple[Site, Daemon], monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    """And granted again when the reload is refused for its code."""
    site, daemon = running
    monkeypatch.setenv("RULES_KEY", "value-of-a-rule")
    without = site.config.read_text()
    granted = "detections: {secrets: {values: {panther-analysis/a: {env: RULES_KEY}}}, "
    site.config.write_text(without.replace("detections: {", granted))
    assert await daemon.reload() == []
    said: list[str] = []

    async def ask() -> None:
        said.append((await daemon._rule_calls.secrets.get("R", "panther-analysis/a")).value)

    async def start(spec: CodeSpec) -> None:
        await ask()
        if is_refused:
            raise ConfigError([Problem("a broken rule")])

    await ask()
    monkeypatch.setattr(daemon._pool, "reload", start)
    site.config.write_text(without)
    assert bool(await daemon.reload()) is is_refused
    await ask()
    assert said == ["value-of-a-rule", "", "value-of-a-rule" if is_refused else ""]


async def test_calls_during_a_reload_share_the_next_one() -> None:
    """However many signals arrive, each is followed by a reload that began after it."""
    begun: list[int] = []
    gate = asyncio.Event()

    async def work() -> list[str]:
        begun.append(len(begun))
        await gate.wait()
        return [str(begun[-1])]

    reload = Coalesced(work)
    first = asyncio.create_task(reload())
    await _until(lambda: begun == [0])
    others = [asyncio.create_task(reload()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await first == ["0"]
    assert [await other for other in others] == [["1"]] * 5
    assert begun == [0, 1]


async def test_how_long_messages_are_remembered_can_be_changed(running: tuple[Site, Daemon]) -> None:
    """As long as the most demanding source wants, from the reload on."""
    site, daemon = running
    assert daemon._ledger.message_dedup_secs == 3_600
    site.config.write_text(
        site.config.read_text().replace("settle_secs: 0", "settle_secs: 0\n    message_dedup_secs: 2h")
    )
    assert await daemon.reload() == []
    assert daemon._ledger.message_dedup_secs == 7_200
