"""Every form of message under every condition: nothing loops, nothing is lost, nothing is twice in the lake.

`make matrix` prints the tables of all kinds of subscriptions.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.gcp import matrix
from tests.gcp.cells import EVENTS, OBJECTS, Cell
from tests.gcp.servers import Gcp

IN_CI = "in order, exactly once"


@pytest.mark.parametrize(
    "kind", [IN_CI, *(pytest.param(kind, marks=pytest.mark.slow) for kind in matrix.KINDS if kind != IN_CI)]
)
async def test_each_cell_comes_out_as_it_must(gcp: Gcp, kind: str, tmp_path: Path) -> None:
    """What can be read is read once; what cannot is told once, with its reason; and the subscription is empty."""
    outcome = await matrix.run(gcp, kind, tmp_path / "site")
    print(f"\n{outcome.tables()}")
    assert outcome.wrong() == []


def test_a_cell_that_came_out_otherwise_is_told(gcp: Gcp) -> None:
    """A lost event, one that is there twice, a wrong reason, a message that is left, a mishap that did not happen."""
    (form,) = list(EVENTS)[:1]
    cells = [Cell(gcp, "", "", f"cell-{number}", form, OBJECTS["single"]) for number in range(4)]
    outcome = matrix.Outcome("x", cells, left=1, not_met=1, row_ids=Counter({"r": 2}))
    outcome.events["cell-1"]["a"] = 2
    outcome.events["cell-2"]["a"] = outcome.events["cell-3"]["a"] = 1
    outcome.reasons["cell-2"].append("forbidden")
    assert [line.split(": ")[1].partition(",")[0] for line in outcome.wrong()][:3] == [form] * 3
    assert len(outcome.wrong()) == 6
