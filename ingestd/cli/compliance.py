"""`ingestd compliance`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingestd.config.models import Root
    from ingestd.state.compliance import Standing


class Verdict(StrEnum):
    """What a policy says of a resource."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ERROR = "error"


OfVerdict = Annotated[
    Verdict | None, typer.Option("--verdict", envvar="INGESTD_VERDICT", help="Only what stands like this.")
]
OfPolicy = Annotated[str, typer.Option("--policy", envvar="INGESTD_POLICY", help="Of this policy id.")]
OfResource = Annotated[str, typer.Option("--resource", envvar="INGESTD_RESOURCE", help="Of this resource id.")]
OfType = Annotated[
    str, typer.Option("--resource-type", envvar="INGESTD_RESOURCE_TYPE", help="Of resources of this type.")
]
Limit = Annotated[
    int, typer.Option("--limit", envvar="INGESTD_LIMIT", min=1, max=1_000_000, help="How many, newest change first.")
]

COLUMNS = ("verdict", "since", "resource_type", "resource_id", "policy", "checked", "row_id")


def command(
    config: ConfigFile = None,
    verdict: OfVerdict = None,
    policy: OfPolicy = "",
    resource: OfResource = "",
    resource_type: OfType = "",
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show how resources stand with policies."""
    import asyncio

    from ingestd.config.load import load

    root = load(config_file(config))
    if not root.state.path.exists():
        output.note(f"nothing was checked yet: {root.state.path} is not there, so the daemon has not run")
        return
    wanted = {
        "verdict": verdict.value if verdict else None,
        "policy_id": policy or None,
        "resource_id": resource or None,
        "resource_type": resource_type or None,
    }
    found = asyncio.run(_standings(root, limit, wanted))
    output.print_rows(COLUMNS, [_row(standing) for standing in found], as_json=as_json, whole=("verdict", "since"))


async def _standings(root: Root, limit: int, wanted: dict[str, str | None]) -> Sequence[Standing]:
    from ingestd.alerts.recorder import Alerts
    from ingestd.alerts.routing import Routing
    from ingestd.state.sqlite import SqliteState

    state = SqliteState.open(root.state.path)
    try:
        return await Alerts(state, Routing([])).compliance(limit, **wanted)
    finally:
        await state.close()


def _row(standing: Standing) -> tuple[str, ...]:
    return (
        standing.verdict,
        _time(standing.since),
        standing.resource_type,
        standing.resource_id,
        standing.policy_id,
        _time(standing.checked_at),
        standing.row_id,
    )


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
