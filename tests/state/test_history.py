"""The history of detections: what was enabled when, in which version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.model import LoadedDetection
from ingestd.state import history
from ingestd.state.sqlite import SqliteState


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    """An open state."""
    state = SqliteState.open(tmp_path / "state.db")
    yield state
    await state.close()


def loaded(name: str, version: str = "v1", **more: Any) -> LoadedDetection:
    """A detection as the workers tell of it."""
    return LoadedDetection(**{"id": name, "kind": "rule", "enabled": True, "version": version, **more})


async def record(state: SqliteState, now: float, *detections: LoadedDetection) -> int:
    """Note a load."""
    return await state.transact(lambda tx: history.record(tx, detections, now))


async def standing(state: SqliteState, at: float) -> list[tuple[str, bool, bool, str]]:
    """What held at a time."""
    entries = await state.read(lambda tx: history.standing(tx, at))
    return [(entry.id, entry.present, entry.enabled, entry.version) for entry in entries]


async def test_only_what_changed_is_noted(state: SqliteState) -> None:
    """The same load again notes nothing; a version, a commit, being enabled and coming back are changes."""
    assert await record(state, 1.0, loaded("A"), loaded("B")) == 2
    assert await record(state, 2.0, loaded("A"), loaded("B")) == 0
    assert await record(state, 3.0, loaded("A", "v2"), loaded("B")) == 1
    assert await record(state, 4.0, loaded("A", "v2", commit="c"), loaded("B", enabled=False)) == 2
    assert await record(state, 5.0, loaded("A", "v2", commit="c")) == 1
    assert await record(state, 6.0, loaded("A", "v2", commit="c")) == 0
    assert await record(state, 7.0, loaded("A", "v2", commit="c"), loaded("B", enabled=False)) == 1


async def test_what_held_at_any_time(state: SqliteState) -> None:
    """The last entry of each detection up to then."""
    await record(state, 10.0, loaded("A"), loaded("B"))
    await record(state, 20.0, loaded("A", "v2"), loaded("B", enabled=False))
    await record(state, 30.0, loaded("A", "v2"))
    assert await standing(state, 9.0) == []
    assert await standing(state, 15.0) == [("A", True, True, "v1"), ("B", True, True, "v1")]
    assert await standing(state, 20.0) == [("A", True, True, "v2"), ("B", True, False, "v1")]
    assert await standing(state, 99.0) == [("A", True, True, "v2"), ("B", False, False, "v1")]


async def test_changes_newest_first(state: SqliteState) -> None:
    """Since a time, of one detection or all, with what each replaced."""
    for at, version in ((1.0, "v1"), (2.0, "v2"), (3.0, "v3")):
        await record(state, at, loaded("A", version), loaded("B"))
    found = await state.read(lambda tx: history.changes(tx, since=2.0))
    assert [(entry.id, entry.since, entry.version) for entry in found] == [("A", 3.0, "v3"), ("A", 2.0, "v2")]
    (only,) = await state.read(lambda tx: history.changes(tx, detection_id="B"))
    assert (only.id, only.since) == ("B", 1.0)
    before = await state.read(lambda tx: history.before(tx, found[1]))
    assert before is not None
    assert before.version == "v1"
    assert await state.read(lambda tx: history.before(tx, only)) is None


async def test_what_was_replaced_long_ago_is_forgotten(state: SqliteState) -> None:
    """What held at the time until which is remembered, and everything since, stays."""
    for at, version in ((1.0, "v1"), (2.0, "v2"), (9.0, "v3")):
        await record(state, at, loaded("A", version), loaded("B"))
    assert await state.transact(lambda tx: history.sweep(tx, before=5.0, limit=10)) == 1
    assert await state.transact(lambda tx: history.sweep(tx, before=5.0, limit=10)) == 0
    found = await state.read(lambda tx: history.changes(tx))
    assert sorted((entry.id, entry.since) for entry in found) == [("A", 2.0), ("A", 9.0), ("B", 1.0)]
    assert await standing(state, 5.0) == [("A", True, True, "v2"), ("B", True, True, "v1")]
