"""Windows: which matches belong together, when they are an alert, and what is shown of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.alerts.recorder import DAY_SECS, Alerts, Listed
from ingestd.alerts.routing import Routing, Rule
from ingestd.errors import Retryable
from ingestd.state import outbox, windows
from ingestd.state.memory import MemoryState
from ingestd.state.sqlite import SqliteState
from tests.alerts.samples import NOW, Clock, match, matches

MINUTE = 60.0


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """An empty state."""
    made = MemoryState()
    yield made
    await made.close()


@pytest.fixture
def clock() -> Clock:
    """A clock moved by hand."""
    return Clock()


@pytest.fixture
def alerts(state: MemoryState, clock: Clock) -> Alerts:
    """A door whose alerts go to one destination, 20 per hour and detection."""
    return Alerts(state, Routing([Rule(name="soc")]), clock, max_per_hour=20)


async def only(alerts: Alerts) -> Listed:
    """The one alert there is."""
    listed = await alerts.list()
    assert len(listed) == 1
    return listed[0]


async def test_matches_of_one_window_share_an_id_and_are_counted(alerts: Alerts) -> None:
    """Matches of one detection and dedup string within the period get one alert id and one alert counts them."""
    first = await alerts.record(matches(2))
    second = await alerts.record(matches(3, first=2))
    assert len(set(first + second)) == 1
    found = await only(alerts)
    assert found.window.alert.alert_id == first[0]
    assert found.window.alert.match_count == 5


async def test_a_different_detection_kind_or_dedup_string_is_another_window(alerts: Alerts) -> None:
    """The key of a window is detection, kind and dedup string together."""
    ids = await alerts.record(
        [match(0), match(1, dedup="other"), match(2, detection_id="Other"), match(3, kind="policy")]
    )
    assert len(set(ids)) == 4


async def test_a_window_is_fixed_from_its_first_match(alerts: Alerts, clock: Clock) -> None:
    """With 60 minutes, a match 59 minutes after the first joins and one 60 minutes after it opens a new window."""
    ids = await alerts.record([match(0)])
    clock.advance(59 * MINUTE)
    ids += await alerts.record([match(1)])
    clock.advance(1 * MINUTE)
    ids += await alerts.record([match(2)])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(("minutes", "period"), [(0, 60), (-1, 60), (1, 5), (4, 5), (5, 5), (15, 15)])
async def test_short_periods_follow_the_public_format(
    alerts: Alerts, clock: Clock, minutes: int, period: int
) -> None:
    """A period of 0 means 60 minutes and one under 5 minutes means 5."""
    ids = await alerts.record([match(0, dedup_minutes=minutes)])
    clock.advance(period * MINUTE - 1)
    ids += await alerts.record([match(1, dedup_minutes=minutes)])
    clock.advance(1)
    ids += await alerts.record([match(2, dedup_minutes=minutes)])
    assert ids[0] == ids[1] != ids[2]


async def test_below_the_threshold_rows_carry_the_id_but_there_is_no_alert(
    alerts: Alerts, state: MemoryState
) -> None:
    """The id is given when the window opens; the alert exists, and is sent, once the threshold is reached."""
    ids = await alerts.record(matches(2, threshold=3))
    assert await alerts.list() == []
    assert await state.read(outbox.waiting) == {}
    shown = await alerts.show(str(ids[0]))
    assert shown is not None
    assert shown.window.alerted_at is None
    assert shown.window.alert.match_count == 2

    ids += await alerts.record([match(2, threshold=3)])
    assert len(set(ids)) == 1
    assert (await only(alerts)).window.alert.match_count == 3
    assert await state.read(outbox.waiting) == {"soc": 1}


async def test_the_alert_is_made_at_the_moment_the_threshold_is_reached(alerts: Alerts, clock: Clock) -> None:
    """Creation time is when the count reached the threshold; later matches move the update time only."""
    await alerts.record([match(0, threshold=2)])
    clock.advance(60)
    await alerts.record([match(1, threshold=2)])
    clock.advance(60)
    await alerts.record([match(2, threshold=2)])
    alert = (await only(alerts)).window.alert
    assert (alert.created_at, alert.updated_at) == (NOW + 60, NOW + 120)


async def test_what_is_shown_is_that_of_the_first_match(alerts: Alerts) -> None:
    """Title, severity and context come from the first match of the window; log types gather from all."""
    await alerts.record(
        [match(7, title="first", severity="LOW", context='{"n": 1}', tags=("t",), reports={"CIS": ["1"]})]
    )
    await alerts.record(
        [match(8, title="second", severity="CRITICAL", context='{"n": 2}', log_type="Okta.SystemLog")]
    )
    alert = (await only(alerts)).window.alert
    assert (alert.title, alert.severity, alert.context) == ("first", "LOW", '{"n": 1}')
    assert (alert.tags, alert.reports) == (("t",), {"CIS": ["1"]})
    assert alert.log_types == ("AWS.CloudTrail", "Okta.SystemLog")
    assert alert.first_event_time == match(7).event_time


async def test_a_repeated_match_gets_its_id_and_changes_nothing(alerts: Alerts, clock: Clock) -> None:
    """Reading an object again after a crash neither counts again nor sends again, even in a later window."""
    given = matches(5)
    first = await alerts.record(given)
    clock.advance(3 * 60 * MINUTE)
    again = await alerts.record([*given, match(5)])
    assert again[:5] == first
    assert again[5] not in first
    listed = await alerts.list()
    assert [entry.window.alert.match_count for entry in listed] == [1, 5]


async def test_a_match_twice_in_one_call_counts_once(alerts: Alerts) -> None:
    """The same detection on the same row is one match, wherever the repeat comes from."""
    ids = await alerts.record([match(0), match(0), match(1)])
    assert len(set(ids)) == 1
    assert (await only(alerts)).window.alert.match_count == 2


async def test_an_unusual_row_id_is_recognised_too(alerts: Alerts) -> None:
    """Row ids that are not 32 hex digits are compared like any text."""
    odd = [match(0, row_id="row-1"), match(0, row_id="z" * 32), match(0, row_id="")]
    await alerts.record(odd)
    await alerts.record(odd)
    assert (await only(alerts)).window.alert.match_count == 3


async def test_signals_create_nothing(alerts: Alerts) -> None:
    """A match of a detection that creates no alert gets no id and leaves no trace."""
    ids = await alerts.record([match(0, creates_alert=False), match(1), match(2, creates_alert=False)])
    assert ids[0] is None
    assert ids[1] is not None
    assert ids[2] is None
    assert (await only(alerts)).window.alert.match_count == 1


async def test_errors_have_their_own_windows_and_no_threshold(alerts: Alerts) -> None:
    """An error of a detection alerts at once, by exception class, whatever the detection's threshold is."""
    ids = await alerts.record(
        [match(0, threshold=50), match(1, kind="error", dedup="KeyError", title="KeyError('x')", threshold=50)]
    )
    found = await only(alerts)
    assert found.window.alert.kind == "error"
    assert found.window.alert.alert_id == ids[1] != ids[0]


async def test_unique_values_count_towards_the_threshold(alerts: Alerts) -> None:
    """Where the detection has unique(), the threshold applies to the number of distinct values in the window."""
    await alerts.record([match(n, unique="same", threshold=3) for n in range(10)])
    await alerts.record([match(10, unique="second", threshold=3)])
    assert await alerts.list() == []
    await alerts.record([match(11, unique="third", threshold=3)])
    assert (await only(alerts)).window.alert.match_count == 12


async def test_the_newest_threshold_applies(alerts: Alerts) -> None:
    """A detection whose threshold was lowered alerts with its next match, in the window that is open."""
    await alerts.record(matches(2, threshold=100))
    await alerts.record([match(2, threshold=3)])
    assert (await only(alerts)).window.alert.match_count == 3


async def test_the_hourly_limit_suppresses_and_says_so_once(alerts: Alerts, state: MemoryState, clock: Clock) -> None:
    """Past the limit alerts are listed but sent to nobody, and one alert of ingestd's own says how many."""
    await alerts.record([match(n, dedup=f"d{n}") for n in range(15)])
    await alerts.record([match(n, dedup=f"d{n}") for n in range(15, 25)])
    await alerts.record([match(n, dedup=f"d{n}") for n in range(25, 27)])
    listed = await alerts.list()
    suppressed = [entry for entry in listed if entry.window.suppressed]
    assert len(suppressed) == 7
    assert all(entry.deliveries == () for entry in suppressed)
    system = [entry.window.alert for entry in listed if entry.window.alert.kind == "system"]
    assert len(system) == 1
    assert system[0].match_count == 7
    assert system[0].detection_id == "Root.Login"
    assert await state.read(outbox.waiting) == {"soc": 21}

    clock.advance(3600)
    await alerts.record([match(99, dedup="d99")])
    assert await state.read(outbox.waiting) == {"soc": 22}


async def test_a_suppressed_window_stays_suppressed(alerts: Alerts, state: MemoryState) -> None:
    """Further matches of a suppressed alert are counted and do not bring it back."""
    await alerts.record([match(n, dedup=f"d{n}") for n in range(21)])
    await alerts.record([match(100, dedup="d20")])
    suppressed = [entry for entry in await alerts.list() if entry.window.suppressed]
    assert [entry.window.alert.match_count for entry in suppressed] == [2]


async def test_other_detections_have_their_own_limit(alerts: Alerts, state: MemoryState) -> None:
    """One noisy detection does not silence another."""
    await alerts.record([match(n, dedup=f"d{n}") for n in range(30)])
    await alerts.record([match(31, detection_id="Quiet")])
    assert not (await alerts.list(detection_id="Quiet"))[0].window.suppressed


async def test_an_alert_and_its_outbox_rows_are_one_transaction(alerts: Alerts, state: MemoryState) -> None:
    """When the transaction fails, neither window nor outbox row is there; trying again enters everything once."""
    state.fail_before_commit = 1
    with pytest.raises(Retryable):
        await alerts.record(matches(3))
    assert await alerts.list() == []
    assert await state.read(outbox.waiting) == {}

    state.fail_after_commit = 1
    with pytest.raises(Retryable):
        await alerts.record(matches(3))
    await alerts.record(matches(3))
    assert (await only(alerts)).window.alert.match_count == 3
    assert await state.read(outbox.waiting) == {"soc": 1}


async def test_the_outbox_is_woken_when_something_is_due(state: MemoryState) -> None:
    """`on_due` is called after the commit, and only when an alert became due."""
    woken: list[int] = []
    alerts = Alerts(state, Routing([Rule(name="soc")]), Clock(), on_due=lambda: woken.append(1))
    await alerts.record([match(0, threshold=2)])
    assert woken == []
    await alerts.record([match(1, threshold=2)])
    await alerts.record([match(2, threshold=2)])
    assert woken == [1]


async def test_the_list_is_newest_first_and_can_be_narrowed(alerts: Alerts, clock: Clock) -> None:
    """Alerts can be listed by time, severity and detection."""
    for position, severity in enumerate(["LOW", "HIGH", "CRITICAL"]):
        await alerts.record([match(position, dedup=str(position), severity=severity, detection_id=f"D{position}")])
        clock.advance(10)

    async def listed(**wanted: Any) -> list[str]:
        return [entry.window.alert.detection_id for entry in await alerts.list(**wanted)]

    assert await listed() == ["D2", "D1", "D0"]
    assert await listed(limit=1) == ["D2"]
    assert await listed(since=NOW + 10) == ["D2", "D1"]
    assert await listed(severities=("LOW", "HIGH")) == ["D1", "D0"]
    assert await listed(detection_id="D0") == ["D0"]


async def test_an_unknown_alert_is_none(alerts: Alerts) -> None:
    """Asking for an alert that never was, or was swept, answers None."""
    assert await alerts.show("f" * 32) is None


async def test_sweeping_forgets_what_is_older_than_the_retention(
    alerts: Alerts, state: MemoryState, clock: Clock
) -> None:
    """Old windows, members and delivered alerts go; alerts still waiting to be sent and new ones stay."""
    old = await alerts.record([match(0), match(1, dedup="quiet", threshold=9)])
    sent = await state.transact(lambda tx: outbox.claim(tx, "soc", "1", now=clock(), lease_secs=9, limit=1))
    await state.transact(lambda tx: outbox.sent(tx, sent[0], now=clock(), reference=""))
    waiting = await alerts.record([match(2, dedup="waiting")])
    clock.advance(40 * DAY_SECS)
    new = await alerts.record([match(3, dedup="new")])
    await alerts.sweep(30 * DAY_SECS)
    assert await alerts.show(str(old[0])) is None
    assert await alerts.show(str(old[1])) is None
    assert await alerts.show(str(waiting[0])) is not None
    assert await alerts.show(str(new[0])) is not None
    members = await state.read(lambda tx: tx.execute("SELECT alert_id FROM alert_members"))
    assert members == [(new[0],)]


async def test_two_daemons_on_one_file_count_together(tmp_path: Path, clock: Clock) -> None:
    """Matches recorded through two connections to one database join one window, each counted once."""
    states = [SqliteState.open(tmp_path / "state.db") for _ in range(2)]
    doors = [Alerts(state, Routing(), clock) for state in states]
    first = await doors[0].record(matches(3))
    second = await doors[1].record(matches(4, first=1))
    assert set(first) == set(second)
    assert (await only(doors[0])).window.alert.match_count == 5
    for state in states:
        await state.close()


async def test_many_windows_in_one_call(alerts: Alerts, state: MemoryState) -> None:
    """A chunk may open and join more windows than one look-up has parameters."""
    given = [match(n, dedup=f"d{n % 700}", detection_id=f"R{n % 7}", threshold=9) for n in range(1_500)]
    await alerts.record(given[:900])
    await alerts.record(given[600:])
    counts = await state.read(lambda tx: tx.execute("SELECT count(*), sum(match_count) FROM alert_windows"))
    assert counts == [(700, 1_500)]
    assert len(await state.read(lambda tx: windows.known_members(tx, [b"x" * 24]))) == 0


async def test_matches_are_told_the_severity_of_their_alert(alerts: Alerts) -> None:
    """That of the window's first match, in this chunk or an earlier one; without an alert they keep their own."""
    first = [match(0, severity="HIGH"), match(1, severity="LOW"), match(2, severity="LOW", dedup="other")]
    shown = await alerts.as_alerted(first, await alerts.record(first))
    assert [item.severity for item in shown] == ["HIGH", "HIGH", "LOW"]
    later = [match(3, severity="CRITICAL"), match(4, severity="INFO", creates_alert=False)]
    shown = await alerts.as_alerted(later, await alerts.record(later))
    assert [item.severity for item in shown] == ["HIGH", "INFO"]
    assert await alerts.as_alerted([], []) == ()
