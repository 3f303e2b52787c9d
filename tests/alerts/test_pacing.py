"""How fast a destination is sent to, and when it counts as down."""

from __future__ import annotations

from ingestd.alerts.pacing import FAILURES_TO_OPEN, FIRST_PAUSE_SECS, LONGEST_PAUSE_SECS, Breaker, Pace


def test_a_pace_allows_a_burst_and_then_its_rate() -> None:
    """60 a minute are five at once and then one per second."""
    pace = Pace(60, now=0.0)
    assert pace.available(0.0) == 5
    pace.take(5)
    assert pace.available(0.0) == 0
    assert pace.wait_secs(0.0) == 1.0
    assert pace.available(1.0) == 1
    assert pace.available(1_000.0) == 5


def test_a_slow_pace_still_sends_one() -> None:
    """One a minute is one now and the next in a minute."""
    pace = Pace(1, now=0.0)
    assert pace.available(0.0) == 1
    pace.take(1)
    assert pace.wait_secs(0.0) == 60.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """When the clock is set back, the pace neither fails nor grows."""
    pace = Pace(60, now=100.0)
    pace.take(5)
    assert pace.available(0.0) == 0
    assert pace.available(1.0) == 1


def test_the_breaker_opens_after_failures_in_a_row() -> None:
    """A success in between starts the count anew; enough failures in a row stop everything for a pause."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.failed(0.0)
    assert not breaker.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(0.0)
    assert breaker.allowed(0.0, 8, 0) == 8
    assert breaker.failed(0.0)
    assert breaker.allowed(0.0, 8, 0) == 0
    assert breaker.wait_secs(0.0) == FIRST_PAUSE_SECS


def test_an_open_breaker_probes_with_one_alert_at_a_time() -> None:
    """After the pause one alert may go; its failure doubles the pause, its success lets everything go again."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(0.0)
    now = FIRST_PAUSE_SECS
    assert breaker.allowed(now, 8, 0) == 1
    assert breaker.allowed(now, 8, 1) == 0
    breaker.failed(now)
    assert breaker.wait_secs(now) == 2 * FIRST_PAUSE_SECS
    assert breaker.succeeded()
    assert breaker.allowed(now + 2 * FIRST_PAUSE_SECS, 8, 3) == 8


def test_the_pause_has_a_limit() -> None:
    """However long a destination is down, it is probed every few minutes."""
    breaker = Breaker()
    now = 0.0
    for _ in range(50):
        breaker.failed(now)
        now += breaker.wait_secs(now)
    breaker.failed(now)
    assert breaker.wait_secs(now) == LONGEST_PAUSE_SECS


def test_attempts_that_were_under_way_make_the_pause_no_longer() -> None:
    """When many attempts fail together, the pause is that of one failure."""
    breaker = Breaker()
    for _ in range(4 * FAILURES_TO_OPEN):
        breaker.failed(0.0)
    assert breaker.wait_secs(0.0) == FIRST_PAUSE_SECS


def test_a_pause_that_was_asked_for_holds_without_failures() -> None:
    """A destination that says when to come again is left alone until then, and does not count as down."""
    breaker = Breaker()
    breaker.pause(30.0)
    assert breaker.allowed(29.0, 8, 0) == 0
    assert breaker.allowed(30.0, 8, 0) == 8
    assert not breaker.open
