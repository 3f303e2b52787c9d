"""`ingestd detections history`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestd.cli import output
from ingestd.cli.options import ConfigFile, Json, config_file

if TYPE_CHECKING:
    from ingestd.config.models import Root
    from ingestd.state.base import Transaction
    from ingestd.state.history import Entry

app = typer.Typer(help="Detections as the daemon has run them.", no_args_is_help=True)

Change = tuple["Entry", "Entry | None"]
"""An entry, and what it replaced."""
COLUMNS = ("since", "detection", "what", "enabled", "version", "commit", "by")
STANDING_COLUMNS = ("detection", "enabled", "since", "version", "commit", "author", "committed")


@app.callback()
def group() -> None:
    """Keep `history` a command of its own though it is the only one."""


@app.command("history")
def show_history(
    detection: Annotated[
        str, typer.Argument(metavar="[ID]", envvar="INGESTD_DETECTION", help="Only of this detection.")
    ] = "",
    config: ConfigFile = None,
    at: Annotated[
        str,
        typer.Option(
            "--at", envvar="INGESTD_AT", help="What was enabled at this time: 2026-03-01T09:30, or 30d ago."
        ),
    ] = "",
    since: Annotated[
        str, typer.Option("--since", envvar="INGESTD_SINCE", help="Changes from this time on, or within 30d.")
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", envvar="INGESTD_ALL", help="With --at, also what was not enabled.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", envvar="INGESTD_LIMIT", min=1, max=100_000, help="How many, newest first.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """What was enabled at any time, since when, and who changed it.

    Noted whenever the daemon loads detections. A version is the digest of a detection's files, the helpers that they
    import, and overrides; commit and author are those of the last change of its own files, where they lie in a git
    repository. Times are UTC.
    """
    from ingestd.config.load import load

    root = load(config_file(config))
    if not root.state.path.exists():
        output.note(f"no history yet: {root.state.path} is not there, so the daemon has not run")
        return
    if at:
        moment = _moment(at, "--at")
        entries = [
            one for one in _read(root, lambda tx: _standing(tx, moment)) if not detection or one.id == detection
        ]
        rows = [_standing_row(one) for one in entries if one.present and (one.enabled or every or detection)]
        output.print_rows(STANDING_COLUMNS, rows, as_json=as_json, whole=("detection",))
        output.note(f"{sum(one.enabled for one in entries)} detections were enabled at {_time(moment)}")
        return
    start = _moment(since, "--since") if since else 0.0
    found: list[Change] = _read(root, lambda tx: _changes(tx, detection or None, start, limit))
    output.print_rows(COLUMNS, [_row(*one) for one in found], as_json=as_json, whole=("since", "detection"))
    if not found:
        output.note("nothing was noted" + (f" of {detection!r}" if detection else ""))


def _standing(tx: Transaction, at: float) -> list[Entry]:
    from ingestd.state import history

    return history.standing(tx, at)


def _changes(tx: Transaction, detection: str | None, since: float, limit: int) -> list[Change]:
    from ingestd.state import history

    entries = history.changes(tx, detection_id=detection, since=since, limit=limit)
    return [(entry, history.before(tx, entry)) for entry in entries]


def _read(root: Root, ask: Any) -> Any:
    import asyncio

    from ingestd.state.sqlite import SqliteState

    async def read() -> Any:
        state = SqliteState.open(root.state.path)
        try:
            return await state.read(ask)
        finally:
            await state.close()

    return asyncio.run(read())


def _row(entry: Entry, before: Entry | None) -> tuple[Any, ...]:
    what = _what(entry, before)
    by_files = before is None or (entry.version, entry.commit) != (before.version, before.commit)
    by = "" if not entry.present else entry.author if by_files else "the configuration"
    return _time(entry.since), entry.id, what, entry.enabled, entry.version, entry.commit[:12], by


def _what(entry: Entry, before: Entry | None) -> str:
    if not entry.present:
        return "removed"
    if before is None or not before.present:
        return "added"
    if entry.enabled is not before.enabled:
        return "enabled" if entry.enabled else "disabled"
    return "changed"


def _standing_row(entry: Entry) -> tuple[Any, ...]:
    committed = "" if entry.committed_at is None else _time(entry.committed_at)
    return entry.id, entry.enabled, _time(entry.since), entry.version, entry.commit[:12], entry.author, committed


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _moment(text: str, option: str) -> float:
    """A date, a time, or so long ago."""
    from pydantic import TypeAdapter, ValidationError

    from ingestd.config.base import Seconds

    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass  # perhaps a duration
    try:
        return max(0.0, datetime.now(UTC).timestamp() - float(TypeAdapter(Seconds).validate_python(text)))
    except ValidationError:
        message = f"{text!r} is no time: write 2026-03-01, 2026-03-01T09:30, or 30d for thirty days ago"
        raise typer.BadParameter(message, param_hint=option) from None
