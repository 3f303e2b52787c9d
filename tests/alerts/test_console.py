"""The console destination: readable for people, harmless for terminals."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TextIO

import pytest

from ingestd.alerts.destinations.console import Config, ConsoleDestination, render
from ingestd.errors import Permanent, Retryable
from tests.alerts.samples import alert


def test_an_alert_is_a_few_readable_lines() -> None:
    """Severity and title come first, then who, how often and since when, what to do, and the id."""
    text = render(alert(), coloured=False, context=True)
    assert text.splitlines() == [
        "HIGH     Root login from 198.51.100.7",
        "         Root.Login: 3 matches in AWS.CloudTrail, first event 2023-11-14 22:13:20",
        "         runbook: https://example.com/runbook",
        "         reference: https://example.com/root",
        "         {",
        '           "ip": "198.51.100.7",',
        '           "user": {',
        '             "name": "root"',
        "           }",
        "         }",
        f"         alert {alert().alert_id}",
    ]


def test_nothing_from_an_event_reaches_the_terminal_as_a_command() -> None:
    """Escape sequences, bells, direction marks and line breaks are shown, not obeyed."""
    hostile = "\x1b]0;owned\x07\x1b[2J\u202etxt.exe\r\nHIGH fake\x9b31m\u2028\U000e0041"
    text = render(
        alert(title=hostile, detection_id=hostile, runbook=hostile, reference=hostile, log_types=(hostile,),
              first_event_time=hostile, context='{"k": "\\u001b[2J \\u202e"}'),
        coloured=False,
        context=True,
    )  # fmt: skip
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b[2J" in text
    assert not any(line.startswith("HIGH fake") for line in text.splitlines())


def test_long_contexts_are_cut() -> None:
    """A context shows its beginning and says how much is missing."""
    text = render(alert(context=str(list(range(100)))), coloured=False, context=True)
    assert "more lines" in text
    assert len(text.splitlines()) < 20


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colour unless NO_COLOR is set; a file never does."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert ConsoleDestination("c", Config(type="console"), Terminal())._coloured
    assert not ConsoleDestination("c", Config(type="console"), io.StringIO())._coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not ConsoleDestination("c", Config(type="console"), Terminal())._coloured


@pytest.fixture
def pipe() -> tuple[TextIO, TextIO]:
    """Both ends of a pipe: reader, writer."""
    reader, writer = os.pipe()
    return os.fdopen(reader), os.fdopen(writer, "w")


async def test_a_reader_that_does_not_read_is_a_temporary_failure(pipe: tuple[TextIO, TextIO]) -> None:
    """A full pipe neither blocks the daemon nor hangs a thread."""
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    while True:
        try:
            os.write(writer.fileno(), b"x" * 4_096)
        except BlockingIOError:
            break
    os.set_blocking(writer.fileno(), True)
    destination = ConsoleDestination("c", Config(type="console", timeout_secs=0.05), writer)
    with pytest.raises(Retryable, match="nobody reads"):
        await destination.send(alert())
    os.read(reader.fileno(), 65_536)
    await destination.send(alert())
    reader.close()
    os.set_blocking(writer.fileno(), False)


async def test_a_closed_output_is_a_permanent_failure(pipe: tuple[TextIO, TextIO], tmp_path: Path) -> None:
    """When whoever read has gone, the alert counts as failed and can be shown by the list of alerts."""
    reader, writer = pipe
    reader.close()
    with pytest.raises(Permanent, match="closed"):
        await ConsoleDestination("c", Config(type="console"), writer).send(alert())
    stream = (tmp_path / "out").open("w")
    stream.close()
    with pytest.raises(Permanent, match="closed"):
        await ConsoleDestination("c", Config(type="console"), stream).send(alert())
