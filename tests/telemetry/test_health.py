"""State of the daemon and its components."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from ingestd import redact
from ingestd.errors import Retryable
from ingestd.telemetry import catalogue, health
from ingestd.telemetry.catalogue import value
from ingestd.telemetry.health import Component, Health, State


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at 1000."""
    return Clock()


@pytest.fixture
def working(clock: Clock) -> Health:
    """A daemon with one of each component, all working."""
    daemon = Health(clock)
    for kind in ("state", "workers", "lake"):
        daemon.component(kind).ok()
    daemon.component("source", "a").ok()
    daemon.component("destination", "d").ok()
    return daemon


def test_a_daemon_that_starts_is_alive_but_not_ready(clock: Clock) -> None:
    """Before its parts work it takes nothing; each reason is told."""
    daemon = Health(clock)
    daemon.component("workers")
    daemon.component("source", "a")
    assert daemon.why_not_alive() == []
    assert daemon.why_not_ready() == ["workers is starting", "no source receives: a is starting"]


def test_a_working_daemon_is_ready(working: Health) -> None:
    """With warm workers and a source that receives there is no reason against work."""
    assert working.why_not_ready() == []
    assert working.why_not_alive() == []


def test_one_source_is_enough(working: Health) -> None:
    """A second source that cannot receive does not make the daemon unready."""
    working.component("source", "b").failing("no queue")
    assert working.why_not_ready() == []
    working.component("source", "a").failed("forbidden")
    assert working.why_not_ready() == ["no source receives: a is permanent_error, b is recoverable_error"]


def test_an_outage_elsewhere_restarts_nothing(working: Health) -> None:
    """Whatever else fails leaves the daemon alive: a broker's outage must not restart a fleet."""
    for kind, name in (("source", "a"), ("destination", "d"), ("lake", "")):
        working.component(kind, name).failing(Retryable("down"))  # type: ignore[arg-type]
    assert working.why_not_alive() == []


def test_a_fatal_error_ends_life(working: Health) -> None:
    """What the daemon cannot go on without makes it not alive."""
    working.component("state").failed(OSError("disk is gone"), fatal=True)
    assert working.why_not_alive() == ["state: OSError: disk is gone"]


def test_draining_is_not_ready(working: Health) -> None:
    """While it drains it takes nothing new, but lives."""
    working.draining = True
    assert working.why_not_ready() == ["draining"]
    assert working.why_not_alive() == []


def test_a_stuck_loop_is_not_alive(working: Health, clock: Clock) -> None:
    """An event loop that does not turn is told, until it turns again."""
    clock.now += health.LOOP_STUCK_SECS + 1
    assert working.why_not_alive() == ["the event loop did not turn for 16 s"]
    working.turned()
    assert working.why_not_alive() == []


def test_standing_still_is_shown_and_restarts_nothing(working: Health, clock: Clock) -> None:
    """When anything last moved and what is in hand is told; a restart would not help a full disk."""
    catalogue.MESSAGES_IN_FLIGHT.labels(source="a").set(3)
    working.moved()
    clock.now += 86_400
    working.turned()
    assert working.why_not_alive() == []
    shown = working.as_json()
    assert (shown["progress_at"], shown["in_flight"]) == (1000.0, 3)


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["ok"], State.OK),
        (["failing"], State.RECOVERABLE_ERROR),
        (["failing", "ok"], State.OK),
        (["failed", "ok"], State.PERMANENT_ERROR),
        (["failed", "failing"], State.PERMANENT_ERROR),
        (["failed", "restart", "ok"], State.OK),
        (["ok", "stopping", "failing"], State.STOPPING),
        (["ok", "stopping", "stopped"], State.STOPPED),
        (["stopped", "ok"], State.STOPPED),
        (["failed", "stopping", "stopped"], State.STOPPED),
    ],
)
def test_transitions(clock: Clock, steps: list[str], state: State) -> None:
    """Recoverable errors come and go, permanent ones stay until a restart, an end is an end."""
    component = Component("source", "a", clock)
    for step in steps:
        arguments = ["why"] if step in {"failing", "failed"} else []
        getattr(component, step)(*arguments)
    assert component.state is state


def test_changes_are_told_once(clock: Clock) -> None:
    """A state that repeats is neither logged again nor begun again; its error is brought up to date."""
    component = Component("source", "a", clock)
    with capture_logs() as lines:
        component.failing("first")
        clock.now += 5
        component.failing("second")
    assert [line["error"] for line in lines] == ["first"]
    assert (component.since, component.last_error, component.last_error_at) == (1000.0, "second", 1005.0)
    assert value("ingestd_component_healthy", kind="source", name="a") == 0


def test_status_shows_no_secret(working: Health) -> None:
    """An error that quotes a secret is redacted before anyone sees it."""
    redact.remember("value-of-the-secret")
    working.component("destination", "d").failing("401 for value-of-the-secret")
    shown = working.as_json()["components"]["destination"]["d"]
    assert shown["last_error"] == f"401 for {redact.HIDDEN}"


def test_what_left_the_configuration_is_forgotten(working: Health) -> None:
    """A source that a reload removed is no reason any more."""
    working.component("source", "b").failed("gone")
    working.forget("source", "b")
    assert list(working.as_json()["components"]["source"]) == ["a"]


def test_what_was_removed_is_no_longer_counted_as_failing(working: Health) -> None:
    """A source that failed and left the configuration raises no alert any more."""
    working.component("source", "gone").failing(Retryable("no such queue"))
    working.forget("source", "gone")
    samples = [sample for family in catalogue.COMPONENT_HEALTHY.collect() for sample in family.samples]
    assert {sample.labels["name"] for sample in samples if sample.labels["kind"] == "source"} == {"a"}
