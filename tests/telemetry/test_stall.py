"""Standing still: of the work, and of the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest
from structlog.testing import capture_logs

from ingestd.telemetry import catalogue
from ingestd.telemetry.health import Health
from ingestd.telemetry.stall import HOPELESS_SECS, LOOK_SECS, STALLED_SECS, Stall


class Clock:
    """Time that goes on when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A stall watch on a clock of its own."""

    def __init__(self) -> None:
        self.busy = True
        self.clock = Clock()
        self.health = Health(clock=self.clock)
        self.stall = Stall(self.health, lambda: self.busy, clock=self.clock)

    def pass_secs(self, seconds: float) -> None:
        """Look as often as the daemon does."""
        for _ in range(int(seconds / LOOK_SECS)):
            self.clock.now += LOOK_SECS
            self.stall.look()


async def test_a_stall_is_told_once_with_every_stack() -> None:
    """After 30 s without any movement the log has the stack of each task and thread, and no second copy of it."""
    bench = Bench()
    held = asyncio.create_task(asyncio.Event().wait(), name="held up")
    await asyncio.sleep(0)
    with capture_logs() as lines:
        bench.pass_secs(STALLED_SECS)
        assert not lines
        bench.pass_secs(4 * STALLED_SECS)
    held.cancel()
    (line,) = lines
    assert "although work is in hand" in line["error"]
    assert "held up" in line["stack"]
    assert "MainThread" in line["stack"]


@pytest.mark.parametrize("what", ["progress", "trouble", "idle"])
async def test_what_is_no_stall(what: str) -> None:
    """Work that moves, work that fails and is tried again, and no work at all are not standing still."""
    bench = Bench()
    bench.busy = what != "idle"
    with capture_logs() as lines:
        for _ in range(10):
            bench.pass_secs(STALLED_SECS / 2)
            if what == "progress":
                catalogue.RECORDS.labels(source="a", log_type="T", outcome="ok").inc()
            elif what == "trouble":
                catalogue.ERRORS.labels(stage="read", error_type="retryable").inc()
    assert not lines
    assert not bench.stall.hopeless


async def test_a_process_that_was_stopped_is_not_stuck() -> None:
    """After SIGSTOP and SIGCONT, or a suspended machine, the time away does not count."""
    bench = Bench()
    bench.pass_secs(LOOK_SECS)
    bench.clock.now += 3_600
    with capture_logs() as lines:
        bench.pass_secs(LOOK_SECS)
    assert not lines
    assert bench.stall.still_secs == 0


async def test_hopeless_until_something_moves() -> None:
    """A stall of minutes is reason for a restart; movement ends it, and dates the last progress for `/status`."""
    bench = Bench()
    bench.pass_secs(HOPELESS_SECS + 2 * LOOK_SECS)
    stuck = bench.stall.hopeless
    assert stuck
    before = bench.health.progress_at
    catalogue.LAKE_COMMITS.labels(outcome="committed").inc()
    bench.pass_secs(LOOK_SECS)
    assert not bench.stall.hopeless
    assert bench.health.progress_at > before


def test_an_event_loop_that_hangs_shows_where() -> None:
    """While the loop is inside one call nothing of ours can run; the stacks come on stderr all the same."""
    program = """
        import asyncio, time
        from ingestd.telemetry import stall
        from ingestd.telemetry.health import Health
        stall.STALLED_SECS = 0.1

        async def main():
            watching = asyncio.create_task(stall.Stall(Health(), lambda: True).watch())
            await asyncio.sleep(0.01)
            hang()

        def hang():
            time.sleep(1)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Timeout (0:00:00.1" in ended.stderr
    assert "in hang" in ended.stderr
    assert ended.returncode == 0
