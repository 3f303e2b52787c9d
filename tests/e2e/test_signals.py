"""What a supervisor sees: readiness, reloads and the end over its socket; signals answered as it expects."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proofs import checker, hostile
from tests.proofs.site import Site

PATIENCE_SECS = 60.0


class Supervised:
    """A daemon with a supervisor's socket."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = site.folder / "notify"
        self._socket.bind(str(address))
        self._socket.settimeout(1.0)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1000000"}
        command = [sys.executable, "-m", "ingestd", "run", "-c", str(site.config)]
        log = (site.folder / "daemon.log").open("ab")
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def hears(self, word: str) -> str:
        """Wait for a datagram that holds the word."""
        deadline = time.monotonic() + PATIENCE_SECS
        while time.monotonic() < deadline:
            try:
                message = self._socket.recv(4096).decode()
            except TimeoutError:
                assert self.process.poll() is None, self.site.log_tail()
                continue
            if word in message:
                return message
        raise AssertionError(f"{word} was not told\n{self.site.log_tail()}")

    def end(self) -> None:
        """Let go of everything."""
        self._socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """A daemon that is ready."""
    site = Site(tmp_path / "site")
    site.inbox.mkdir()
    made = Supervised(site)
    made.hears("READY=1")
    yield made
    made.end()


def test_a_reload_by_signal_is_told_from_its_beginning_to_its_end(supervised: Supervised) -> None:
    """SIGHUP: RELOADING with its time in the same datagram, then READY."""
    supervised.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in supervised.hears("RELOADING=1")
    supervised.hears("READY=1")


def test_signs_of_life_come_while_the_daemon_idles_rightly(supervised: Supervised) -> None:
    """WATCHDOG and a line of status."""
    supervised.hears("WATCHDOG=1")
    assert "records/s" in supervised.hears("STATUS=")


def test_sigterm_finishes_what_was_begun_and_exits_with_0(supervised: Supervised) -> None:
    """STOPPING is told, the rows are committed, and nothing is left behind."""
    records = "".join(json.dumps(hostile.record(f"event-{n}")) + "\n" for n in range(20_000))
    partial = supervised.site.inbox / "a.tmp"
    partial.write_text(records)
    os.rename(partial, supervised.site.inbox / "a.log")
    supervised.process.send_signal(signal.SIGTERM)
    supervised.hears("STOPPING=1")
    assert supervised.process.wait(PATIENCE_SECS) == 0, supervised.site.log_tail()
    first = supervised.site.start()
    assert first.wait(PATIENCE_SECS) == 0, supervised.site.log_tail()
    ids = Counter(row[0] for row in checker.parquet_rows(supervised.site.lake, "events", ["eventID"]))
    assert len(ids) == 20_000
    assert set(ids.values()) == {1}


def test_a_second_signal_ends_the_daemon_at_once(supervised: Supervised) -> None:
    """The first asks for a drain; the second does not wait for it."""
    supervised.process.send_signal(signal.SIGSTOP)  # so that both are there before either is answered
    supervised.process.send_signal(signal.SIGTERM)
    supervised.process.send_signal(signal.SIGINT)
    supervised.process.send_signal(signal.SIGCONT)
    assert supervised.process.wait(PATIENCE_SECS) in {0, 130}
