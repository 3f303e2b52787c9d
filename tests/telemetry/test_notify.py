"""What a supervisor hears, over real datagram sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingestd.telemetry import notify
from ingestd.telemetry.notify import Notifier


@contextmanager
def supervisor(address: str) -> Iterator[socket.socket]:
    """Listens as systemd does."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(5)
        yield listening


def hear(listening: socket.socket) -> dict[str, str]:
    """One datagram's assignments."""
    return dict(line.split("=", 1) for line in listening.recv(4096).decode().splitlines())


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_life_of_a_daemon_is_told(kind: str, tmp_path: Path) -> None:
    """Ready, status, reload and end arrive in order, over a path as over an abstract socket."""
    address = str(tmp_path / "notify") if kind == "path" else f"@ingestd-test-{os.getpid()}"
    with supervisor(address) as systemd:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
        notifier.ready()
        assert hear(systemd) == {"READY": "1"}
        notifier.status("812 records/s\nREADY=1")
        assert hear(systemd) == {"STATUS": "812 records/s READY=1"}, "a line break would begin another assignment"
        notifier.stopping(within_secs=35)
        assert hear(systemd) == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "35000000"}


def test_a_reload_says_when_it_began(tmp_path: Path) -> None:
    """RELOADING carries the monotonic time in the same datagram; without it `systemctl reload` waits for ever."""
    with supervisor(str(tmp_path / "notify")) as systemd:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notifier(str(tmp_path / "notify")).reloading()
        heard = hear(systemd)
        assert heard["RELOADING"] == "1"
        assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_signs_of_life_are_given_to_who_asked_for_them(tmp_path: Path) -> None:
    """The watchdog is fed twice within its limit, when it was set for this process."""
    address = str(tmp_path / "notify")
    mine = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    with supervisor(address) as systemd:
        notifier = Notifier.from_environment(mine)
        assert notifier.watchdog_secs == 30
        notifier.watchdog()
        assert hear(systemd) == {"WATCHDOG": "1"}


@pytest.mark.parametrize(
    "changes",
    [
        {"WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": ""},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
    ],
)
def test_no_signs_for_others(changes: dict[str, str], tmp_path: Path) -> None:
    """A watchdog of another process, without a limit, or at an address of no known kind is left alone."""
    asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
    assert Notifier.from_environment(asked | changes).watchdog_secs is None


def test_nobody_there(tmp_path: Path) -> None:
    """Without a supervisor nothing is sent; one that has gone is told of once, and the work goes on."""
    with capture_logs() as lines:
        Notifier.from_environment({}).ready()
        assert not lines
        gone = Notifier(str(tmp_path / "gone"), watchdog_limit_secs=2)
        gone.ready()
        gone.watchdog()
    assert [line["event"] for line in lines] == ["cannot tell the supervisor"]


def test_a_supervisor_that_does_not_read_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its queue full a message is dropped after a moment."""
    monkeypatch.setattr(notify, "SEND_SECS", 0.01)
    with supervisor(str(tmp_path / "notify")) as systemd:
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        notifier = Notifier(str(tmp_path / "notify"))
        for _ in range(100):
            notifier.status("x" * 200)  # would wait for ever
        systemd.setblocking(False)
        assert 0 < len(list(_waiting(systemd))) < 100


def _waiting(listening: socket.socket) -> Iterator[dict[str, str]]:
    with suppress(BlockingIOError):
        while True:
            yield hear(listening)


async def test_the_heart_beats_only_while_something_moves(tmp_path: Path) -> None:
    """Status is told either way; the sign of life is left out when nothing moves, so that the supervisor acts."""
    moving = True
    with supervisor(str(tmp_path / "notify")) as systemd:
        notifier = Notifier(str(tmp_path / "notify"), watchdog_limit_secs=0.02)
        beating = asyncio.create_task(notify.beat(notifier, status=lambda: "well", moving=lambda: moving))
        assert await asyncio.to_thread(hear, systemd) == {"STATUS": "well"}
        assert await asyncio.to_thread(hear, systemd) == {"WATCHDOG": "1"}
        moving = False
        heard = [await asyncio.to_thread(hear, systemd) for _ in range(6)]
        assert heard[-4:] == [{"STATUS": "well"}] * 4
        beating.cancel()


async def test_the_heart_is_still_without_a_supervisor() -> None:
    """Nothing runs beside the daemon when nobody listens."""
    await asyncio.wait_for(notify.beat(Notifier(None), status=str, moving=bool), timeout=1)
