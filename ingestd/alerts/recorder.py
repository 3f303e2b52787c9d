"""The door to the alert state: matches in, alert ids out; and the list of alerts for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from ingestd import failpoints
from ingestd.alerts import sighted, windows
from ingestd.alerts.routing import Routing
from ingestd.model import Match, ResourceCheck
from ingestd.state import compliance, kv, outbox, row_keys, sightings
from ingestd.state import windows as table
from ingestd.state.base import State, Transaction
from ingestd.telemetry import occurrences

DAY_SECS = row_keys.DAY_SECS
QUIET_DAYS = 1
"""How long a closed window that never became an alert is kept."""
_SWEEP_ROWS = 5_000


class _Look(Protocol):
    def __call__(self, tx: Transaction, /, *, after: bytes, limit: int) -> tuple[bytes, int]: ...


class _Forget(Protocol):
    def __call__(self, tx: Transaction, /, *, after: bytes, last: bytes, before_day: int) -> None: ...


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and how far it is on its way."""

    window: table.Window
    deliveries: tuple[outbox.DeliveryState, ...]


class Alerts:
    """See the module. `on_due` is called, in the event loop, when an alert was put into the outbox."""

    def __init__(
        self,
        state: State,
        routing: Routing,
        clock: Callable[[], float] = time.time,
        *,
        max_per_hour: int = 1_000,
        on_due: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = state
        self._clock = clock
        self.max_per_hour = max_per_hour
        self._on_due = on_due
        self.routing = routing
        """May be replaced at a reload; alerts that are due from then on go by it."""

    async def record(self, matches: Sequence[Match], resources: Sequence[ResourceCheck] = ()) -> list[str | None]:
        """Enter the matches and errors of a chunk, how its resources stand, and what correlation rules wait for, in
        one durable transaction.

        Answers the alert id of each match, in their order; None for those that create no alert. The id is that of
        the match's window, whether or not the window has reached its threshold. Recording the same matches again
        answers the same ids and changes nothing, so a caller that got `Retryable` may simply try again.
        """
        creating = [match for match in matches if match.creates_alert]
        seen = sighted.of(matches, self._clock())
        if not creating and not resources and not seen:
            return [None] * len(matches)
        now = self._clock()
        enter = partial(
            windows.record, matches=creating, now=now, routing=self.routing, max_per_hour=self.max_per_hour
        )

        def work(tx: Transaction) -> windows.Outcome:
            compliance.record(tx, resources, now)
            sightings.add(tx, seen, now)
            return enter(tx)

        failpoints.hit("alerts.before_transaction")
        outcome = await self._state.transact(work)
        failpoints.hit("alerts.after_transaction")
        self._tell(outcome)
        alert_ids = iter(outcome.alert_ids)
        return [next(alert_ids) if match.creates_alert else None for match in matches]

    async def as_alerted(self, matches: Sequence[Match], alert_ids: Sequence[str | None]) -> tuple[Match, ...]:
        """The matches with the severities of their alerts. A detection may give each match its own; an alert has that
        of its first."""
        wanted = sorted({alert_id for alert_id in alert_ids if alert_id is not None})
        if not wanted:
            return tuple(matches)
        found = await self._state.read(partial(table.severities, alert_ids=wanted))
        return tuple(
            match
            if alert_id is None or (severity := found.get(alert_id, match.severity)) == match.severity
            else msgspec.structs.replace(match, severity=severity)
            for match, alert_id in zip(matches, alert_ids, strict=True)
        )

    def _tell(self, outcome: windows.Outcome) -> None:
        for alert in outcome.raised:
            occurrences.alert_raised(alert.alert_id, alert.detection_id, alert.kind, alert.severity, alert.title)
            for name in alert.unknown:
                occurrences.alert_undeliverable(alert.alert_id, name)
        for detection_id, count in outcome.suppressed.items():
            occurrences.alerts_suppressed(detection_id, count)
        if outcome.raised:
            self._on_due()

    # --- for people ---

    async def list(
        self,
        *,
        limit: int = 100,
        since: float = 0.0,
        severities: Sequence[str] = (),
        detection_id: str | None = None,
    ) -> Sequence[Listed]:
        """Alerts since a time, newest first, each with its deliveries."""

        def work(tx: Transaction) -> list[Listed]:
            found = table.newest_alerts(
                tx, limit=limit, since=since, severities=severities, detection_id=detection_id
            )
            return [_listed(tx, window) for window in found]

        return await self._state.read(work)

    async def show(self, alert_id: str) -> Listed | None:
        """One window by its id, an alert or not yet; None when there is none (any more)."""

        def work(tx: Transaction) -> Listed | None:
            window = table.window(tx, alert_id)
            return None if window is None else _listed(tx, window)

        return await self._state.read(work)

    async def failed(self, *, limit: int = 100) -> Sequence[outbox.DeliveryState]:
        """Deliveries that were given up, newest first, each with the reason."""
        return await self._state.read(lambda tx: outbox.failed(tx, limit=limit))

    async def retry(self, *, alert_id: str | None = None, destination: str | None = None) -> int:
        """Send failed deliveries again: of one alert, of one destination, or all. Answers how many."""
        now = self._clock()
        count = await self._state.transact(
            lambda tx: outbox.revive(tx, now=now, alert_id=alert_id, destination=destination)
        )
        if count:
            self._on_due()
        return count

    async def compliance(self, limit: int = 100, **wanted: str | None) -> Sequence[compliance.Standing]:
        """How resources stand with policies, those that changed last first; see `state.compliance.standings`."""
        return await self._state.read(lambda tx: compliance.standings(tx, limit=limit, **wanted))

    # --- retention ---

    async def sweep(self, retention_secs: float = 30 * DAY_SECS) -> None:
        """Forget what is older than the retention, in many short steps. A match that comes again later than that
        counts as a new one."""
        now = self._clock()
        old = now - retention_secs
        await self._sweep_keys(table.members_after, table.forget_members, int(old // DAY_SECS))
        await self._sweep_keys(kv.calls_after, kv.forget_calls, int(old // DAY_SECS))
        quiet = now - QUIET_DAYS * DAY_SECS
        windows_step = partial(table.sweep_windows, quiet_before=quiet, alerts_before=old, limit=_SWEEP_ROWS)
        resources_step = partial(compliance.sweep, before=old, limit=_SWEEP_ROWS)
        for step in (windows_step, resources_step, partial(kv.sweep_items, now=now, limit=_SWEEP_ROWS)):
            while await self._state.transact(step):
                pass

    async def _sweep_keys(self, look: _Look, forget: _Forget, before_day: int) -> None:
        """Walk over a table in the order of its keys, and write only where there is something old: the rows of one
        day lie all over it."""
        last = b""
        while True:
            after = last
            last, oldest_day = await self._state.read(partial(look, after=after, limit=_SWEEP_ROWS))
            if not last:
                return
            if oldest_day < before_day:
                await self._state.transact(partial(forget, after=after, last=last, before_day=before_day))


def _listed(tx: Transaction, window: table.Window) -> Listed:
    return Listed(window=window, deliveries=tuple(outbox.deliveries(tx, [window.alert.alert_id])))
