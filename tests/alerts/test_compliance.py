"""How resources stand with policies: what is kept of the verdicts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingestd.alerts.recorder import Alerts
from ingestd.alerts.routing import Routing
from ingestd.model import ResourceCheck, Verdict
from ingestd.state.memory import MemoryState


class Kept:
    """An alert state whose clock a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.state = MemoryState()
        self.alerts = Alerts(self.state, Routing(), lambda: self.now)

    async def check(self, *checks: ResourceCheck, at: float) -> None:
        """Record at a time."""
        self.now = at
        await self.alerts.record([], checks)

    async def standings(self, **wanted: Any) -> list[tuple[str, str, str, float, float]]:
        """Each as resource, policy, verdict, since, checked."""
        found = await self.alerts.compliance(**wanted)
        return [(s.resource_id, s.policy_id, s.verdict, s.since, s.checked_at) for s in found]


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    """Nothing was checked yet."""
    kept = Kept()
    yield kept
    await kept.state.close()


def check(resource_id: str, resource_type: str = "T", /, day: int = 1, **verdicts: Verdict) -> ResourceCheck:
    """Verdicts by policy, by a snapshot of a day in May."""
    return ResourceCheck(
        resource_id=resource_id,
        resource_type=resource_type,
        row_id="row",
        event_time=f"2026-05-{day:02} 00:00:00.000000000",
        verdicts=verdicts,
    )


async def test_a_verdict_stands_since_it_changed(kept: Kept) -> None:
    """The same again moves the time of the check alone."""
    await kept.check(check("r", P="pass"), at=10)
    await kept.check(check("r", P="fail"), at=20)
    await kept.check(check("r", P="fail"), at=30)
    assert await kept.standings() == [("r", "P", "fail", 20.0, 30.0)]


async def test_the_last_of_several_snapshots_counts(kept: Kept) -> None:
    """In one chunk as in several."""
    await kept.check(check("r", P="fail"), check("s", P="fail"), check("r", P="pass"), at=10)
    assert [row[:3] for row in await kept.standings(resource_id="r")] == [("r", "P", "pass")]


async def test_a_policy_that_is_no_more_asked_is_forgotten(kept: Kept) -> None:
    """It was disabled, or removed: it says nothing about the resource any more; other resources keep theirs."""
    await kept.check(check("r", P="fail", Q="pass"), check("s", P="fail"), at=10)
    await kept.check(check("r", Q="error"), at=20)
    assert [row[:3] for row in await kept.standings()] == [("r", "Q", "error"), ("s", "P", "fail")]
    await kept.check(check("r"), at=30)
    assert [row[:3] for row in await kept.standings()] == [("s", "P", "fail")]


async def test_an_older_snapshot_says_nothing(kept: Kept) -> None:
    """Read later, or in the same chunk, it neither changes nor forgets what the newest said."""
    await kept.check(check("r", day=3, P="fail", Q="pass"), check("r", day=2, P="pass"), at=10)
    await kept.check(check("r", day=1, P="pass", R="fail"), at=20)
    assert await kept.standings() == [("r", "P", "fail", 10.0, 10.0), ("r", "Q", "pass", 10.0, 10.0)]
    await kept.check(check("r", day=4, P="pass"), at=30)
    assert await kept.standings() == [("r", "P", "pass", 30.0, 30.0)]


async def test_resources_of_two_types_may_have_one_id(kept: Kept) -> None:
    """They are two resources."""
    await kept.check(check("r", "T", P="fail"), check("r", "U", P="pass"), at=10)
    assert [row[2] for row in await kept.standings(resource_type="U")] == ["pass"]
    assert len(await kept.standings()) == 2


async def test_standings_can_be_asked_for_by_each_part(kept: Kept) -> None:
    """Verdict, policy, resource and type, together as well; those that changed last come first."""
    await kept.check(check("r", P="fail", Q="pass"), at=10)
    await kept.check(check("s", P="fail"), at=20)
    assert [row[0] for row in await kept.standings(verdict="fail")] == ["s", "r"]
    assert [row[0] for row in await kept.standings(verdict="fail", resource_id="r")] == ["r"]
    assert [row[1] for row in await kept.standings(policy_id="Q")] == ["Q"]
    assert await kept.standings(resource_type="none") == []


async def test_resources_that_are_not_seen_any_more_are_forgotten(kept: Kept) -> None:
    """After the retention, and not before."""
    await kept.check(check("old", P="fail"), at=10)
    await kept.check(check("new", P="fail"), at=50)
    kept.now = 100
    await kept.alerts.sweep(60)
    assert [row[0] for row in await kept.standings()] == ["new"]
