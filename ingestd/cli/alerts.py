"""`ingestd alerts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.alerts.recorder import Alerts, Listed
    from ingestd.config.models import Root

AlertId = Annotated[str, typer.Argument(metavar="[ID]", help="Show this alert in full.", envvar="INGESTD_ALERT")]
Since = Annotated[str, typer.Option("--since", envvar="INGESTD_SINCE", help="Made within this time: 90m, 24h, 30d.")]
OfSeverity = Annotated[
    list[str], typer.Option("--severity", envvar="INGESTD_SEVERITY", help="Of this severity; may be given again.")
]
Detection = Annotated[str, typer.Option("--detection", envvar="INGESTD_DETECTION", help="Of this detection id.")]
Failed = Annotated[
    bool, typer.Option("--failed", envvar="INGESTD_FAILED", help="Deliveries that were given up, and why.")
]
Retry = Annotated[
    bool, typer.Option("--retry", envvar="INGESTD_RETRY", help="Send failed deliveries again: those of ID, or all.")
]
Limit = Annotated[
    int, typer.Option("--limit", envvar="INGESTD_LIMIT", min=1, max=100_000, help="How many, newest first.")
]

COLUMNS = ("created", "severity", "id", "detection", "matches", "title", "delivered")
FAILED_COLUMNS = ("alert", "destination", "given_up", "attempts", "error")


def command(
    alert_id: AlertId = "",
    config: ConfigFile = None,
    since: Since = "30d",
    severity: OfSeverity = [],  # noqa: B006 - typer's way to say "may be given again"
    detection: Detection = "",
    failed: Failed = False,
    retry: Retry = False,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show alerts and their deliveries."""
    import asyncio

    from ingestd.config.load import load

    root = load(config_file(config))
    if not root.state.path.exists():
        output.note(f"no alert yet: {root.state.path} is not there, so the daemon has not run")
        return
    if retry:
        count = asyncio.run(_with_alerts(root, lambda alerts: alerts.retry(alert_id=alert_id or None)))
        output.note(f"{count} deliveries will be sent again by the running daemon, or by the next run")
    elif failed:
        given_up = asyncio.run(_with_alerts(root, lambda alerts: alerts.failed(limit=limit)))
        rows = [(d.alert_id, d.destination, _time(d.finished_at), d.attempts, d.error) for d in given_up]
        output.print_rows(FAILED_COLUMNS, rows, as_json=as_json, whole=("alert",))
    elif alert_id:
        _show(asyncio.run(_with_alerts(root, lambda alerts: alerts.show(alert_id))), alert_id)
    else:
        from_time = datetime.now(UTC).timestamp() - _seconds(since)
        severities = [name.upper() for name in severity]
        wanted = {"limit": limit, "since": from_time, "severities": severities, "detection_id": detection or None}
        listed = asyncio.run(_with_alerts(root, lambda alerts: alerts.list(**wanted)))
        output.print_rows(
            COLUMNS, [_row(item) for item in listed], as_json=as_json, whole=("created", "severity", "id")
        )


async def _with_alerts(root: Root, ask: Any) -> Any:
    from ingestd.alerts.recorder import Alerts
    from ingestd.alerts.routing import Routing
    from ingestd.state.sqlite import SqliteState

    state = SqliteState.open(root.state.path)
    try:
        alerts: Alerts = Alerts(state, Routing([]))
        return await ask(alerts)
    finally:
        await state.close()


def _row(item: Listed) -> tuple[Any, ...]:
    alert = item.window.alert
    delivered = (
        "suppressed" if item.window.suppressed else ", ".join(f"{d.destination}: {d.status}" for d in item.deliveries)
    )
    created = _time(item.window.alerted_at)
    return created, alert.severity, alert.alert_id, alert.detection_id, alert.match_count, alert.title, delivered


def _show(item: Listed | None, alert_id: str) -> None:
    if item is None:
        output.note(f"no alert has the id {alert_id}")
        raise typer.Exit(1)
    import msgspec

    output.print_json(msgspec.to_builtins(item))


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from ingestd.config.base import Seconds

    try:
        return float(TypeAdapter(Seconds).validate_python(text))
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint="--since") from None
