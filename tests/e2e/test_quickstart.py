"""The first minutes of a user: `make quickstart`, as they see it on their terminal."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECS = 90.0
FIRST_ALERTS = 10
ON_A_TERMINAL = """
import os, sys
os.open(sys.argv[1], os.O_RDWR)  # the first terminal that the leader of a session opens is its own
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Terminal:
    """A command on a terminal of its own, and all that it has shown so far."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = os.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, os.ttyname(theirs), *command],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
            | {"NO_COLOR": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, pattern: str, times: int = 1) -> None:
        """Read on until the pattern was shown this often."""
        deadline = time.monotonic() + PATIENCE_SECS
        while len(re.findall(pattern, self.shown)) < times:
            assert self._read(deadline), f"{pattern} was not shown {times} times:\n{self.shown}"

    def press(self, key: bytes) -> None:
        """Press a key."""
        os.write(self._ours, key)

    def exit_code(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_SECS
        while self._read(deadline):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def close(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            self.process.terminate()
        self.exit_code()
        os.close(self._ours)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._ours, 65_536) if ready else b""
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _quickstart(home: Path, port: int) -> list[str]:
    return [sys.executable, "scripts/quickstart", "--home", str(home), "--port", str(port)]


@pytest.fixture
def terminal(tmp_path: Path, port: int) -> Iterator[Terminal]:
    """`make quickstart`, but for the installation and the places."""
    makefile = tmp_path / "Makefile"
    makefile.write_text(f".PHONY: quickstart\nquickstart:\n\t@{shlex.join(_quickstart(tmp_path / 'home', port))}\n")
    shown = Terminal(["make", "-f", str(makefile), "quickstart"])
    yield shown
    shown.close()


def _printed(shown: str, word: str) -> list[str]:
    """The command of the welcome in which the word stands."""
    return next(shlex.split(line) for line in shown.splitlines() if line.startswith("    ") and word in line.split())


def test_alerts_come_the_printed_commands_work_and_ctrl_c_ends_it_well(terminal: Terminal, port: int) -> None:
    """Alerts of the samples, the printed query, the metrics, a file dropped in, Ctrl-C: no error from make."""
    terminal.wait_for(r"\n +alert [0-9a-f]{32}\n", FIRST_ALERTS)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECS) as answer:
        assert b"ingestd_records_total" in answer.read()

    query = _printed(terminal.shown, "query")
    deadline = time.monotonic() + PATIENCE_SECS
    while not re.search(r"Ingestd.AWS.ConsoleLoginFailures +6 ", answer := _output(query)):
        assert time.monotonic() < deadline, answer  # the lake is a second behind the alerts

    subprocess.run(_printed(terminal.shown, "cp"), cwd=REPOSITORY, check=True)
    terminal.wait_for("Root user of account 444455556666 signed in from 203.0.113.77")
    assert "invalid" not in _output(_printed(terminal.shown, "rejects"))

    terminal.press(b"\x1a")  # Ctrl-Z: nothing would be left in the foreground
    terminal.press(b"\x03")
    assert terminal.exit_code() == 0, terminal.shown
    assert "ingestd has ended" in terminal.shown
    assert "make:" not in terminal.shown


def test_started_again_it_reads_nothing_twice_and_takes_another_port(tmp_path: Path, port: int) -> None:
    """The second run shows no alert of the first one, keeps the edited configuration and ends by a plain signal."""
    home = tmp_path / "home"
    _end(_start(home, port), FIRST_ALERTS)
    config = home / "ingestd.yml"
    config.write_text(config.read_text() + "# mine\n")
    subprocess.run(["cp", "examples/quickstart/one-more.json", home / "inbox"], cwd=REPOSITORY, check=True)
    with socket.create_server(("127.0.0.1", port)):
        shown = _end(_start(home, port), 1)
    assert f"({port} is taken)" in shown
    assert "The sample logs were read before" in shown
    assert re.findall(r"account \d+", shown) == ["account 444455556666"]
    assert config.read_text().endswith("# mine\n")


def _start(home: Path, port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _quickstart(home, port), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _end(process: subprocess.Popen[str], alerts: int) -> str:
    """What it shows until a signal to it alone ends it after so many alerts."""
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if (alerts := alerts - line.startswith("         alert ")) == 0:
            break
    process.send_signal(signal.SIGINT)
    shown += process.stdout
    assert process.wait(PATIENCE_SECS) == 0, shown
    return "".join(shown)


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
