"""Every envelope under every condition: nothing loops, nothing is lost, nothing is twice in the lake.

`make matrix` prints the tables of both servers.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.aws import matrix
from tests.aws.servers import Aws


@pytest.mark.parametrize("server", ["ministack", pytest.param("moto", marks=pytest.mark.slow)])
async def test_each_cell_comes_out_as_it_must(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Seven envelopes under twelve conditions, and every refusal of S3: what is refused for good is among the dead
    letters, and the text says which permission is missing."""
    aws: Aws = request.getfixturevalue(server)
    outcome = await matrix.run(aws, tmp_path / "site")
    print(f"\n{outcome.table()}")
    assert outcome.wrong() == []
    assert outcome.left == (0, 0)
    set_aside = sum(refusal.outcome not in ("read", "not_found") for refusal in matrix.REFUSALS.values())
    assert outcome.dead_letters == len(matrix.BY_PROXY) * len(matrix.COMPOSE) + set_aside
    for envelope in matrix.COMPOSE:
        assert "s3:GetObject is missing" in outcome.details[envelope, "access denied"][0]
        assert "eu-west-1" in outcome.details[envelope, "wrong region"][0]


def test_a_cell_that_came_out_otherwise_is_told() -> None:
    """A lost event, one that is there twice, and another reason than the right one."""
    outcome = matrix.Outcome("x")
    for envelope, events, reasons in (("S3", [], []), ("SNS", ["a", "a"], []), ("SNS raw", ["a"], ["forbidden"])):
        outcome.events[envelope, "single"] = Counter(events)
        outcome.reasons[envelope, "single"] = reasons
    outcome.refused = {name: (refusal.outcome, refusal.says) for name, refusal in matrix.REFUSALS.items()}
    outcome.refused["404"] = ("lost", "")
    assert len(outcome.wrong()) == 4
