"""The log as it is written."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from ingestd import redact
from ingestd.errors import Retryable
from ingestd.model import ObjectDone
from ingestd.telemetry import catalogue, logs, occurrences

pytestmark = pytest.mark.usefixtures("restored_logging")


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The JSON lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    """Off a terminal a line is JSON with an RFC 3339 UTC time first."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    occurrences.batch_committed("b1", 5, seconds=0.25, reason="bytes")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert {"level": "info", "event": "batch committed", "batch": "b1", "rows": 5}.items() <= line.items()


def test_libraries_look_the_same() -> None:
    """A line of a library has the same form; its chatter below a warning is left out."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("botocore.credentials").info("found")
    logging.getLogger("botocore.credentials").warning("slow %d", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert {"level": "warning", "event": "slow 5", "logger": "botocore.credentials"}.items() <= first.items()
    assert "old" in second["event"]


def test_the_level_changes_at_run_time() -> None:
    """Debug lines appear once they are asked for, and go again."""
    stream = io.StringIO()
    logs.configure("info", stream=stream)
    occurrences.worker_started(1)
    logs.set_level("debug")
    occurrences.worker_started(2)
    logging.getLogger("botocore").info("told now")
    logs.set_level("error")
    occurrences.receive_failed("a", Retryable("x"), in_secs=1)
    assert [line.get("pid", line["event"]) for line in lines(stream)] == [2, "told now"]


def test_logfmt() -> None:
    """logfmt quotes what needs it and stays on one line."""
    stream = io.StringIO()
    logs.configure(format_="logfmt", stream=stream)
    occurrences.messages_returned("a", 2, "line\nbreak and blank")
    (line,) = stream.getvalue().splitlines()
    assert "level=info" in line
    assert 'reason="line\\nbreak and blank"' in line


def test_a_terminal_gets_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the format is for eyes, coloured unless NO_COLOR is set."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    logs.configure(stream=coloured)
    occurrences.messages_returned("a", 2, "drain")
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure(stream=plain)
    occurrences.messages_returned("a", 2, "drain")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "messages returned" in plain.getvalue()


def test_names_from_outside_cannot_steer_a_terminal() -> None:
    """Escape sequences and line breaks in an object's name are shown, not obeyed."""
    stream = Terminal()
    logs.configure(stream=stream)
    occurrences.object_committed("a", "file:///\x1b]0;evil\x07\nerror: forged", 1)
    text = stream.getvalue()
    assert "\x1b]" not in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("format_", ["json", "logfmt", "console"])
def test_no_secret_reaches_the_log(format_: logs.Format) -> None:
    """Known values, credentials in URLs and keys that name a secret are hidden, in tracebacks too."""
    redact.remember("value-of-the-secret")
    stream = io.StringIO()
    logs.configure(format_=format_, stream=stream)
    try:
        raise ValueError("value-of-the-secret https://user:pass1234@host/x?sig=abc123 Bearer abcdefgh12345678")
    except ValueError as error:
        occurrences.internal_error("deliver", error, api_key="k3y", nested={"password": "pa55"})
    logging.getLogger("sdk").warning("sent value-of-the-secret")
    text = stream.getvalue()
    for secret in ("value-of-the-secret", "pass1234", "abc123", "abcdefgh", "k3y", "pa55"):
        assert secret not in text
    assert "ValueError" in text
    assert "Traceback" in text


def test_repeats_are_folded() -> None:
    """Of lines that repeat the first is written, and in the end how many more there were."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    for number in range(5):
        occurrences.object_committed("a", f"file:///{number}", 1)
        occurrences.object_committed("b", f"file:///{number}", 1)
    assert [line["source"] for line in lines(stream)] == ["a", "b"]
    logs.flush_folded(everything=True)
    assert [line["event"] for line in lines(stream)[2:]] == ["object committed (4 more in 10 s)"] * 2
    assert [line["object"] for line in lines(stream)[2:]] == ["file:///4"] * 2
    assert catalogue.value("ingestd_objects_total", source="a", outcome="committed") == 5


def test_what_is_below_the_level_is_not_made() -> None:
    """A line of every object costs nothing where it is not wanted, and is there where it is."""
    stream = io.StringIO()
    logs.configure("warning", stream=stream)
    occurrences.object_committed("a", "file:///1", 1)
    assert not logs.wanted(logging.INFO, "object committed")
    logs.set_level("debug")
    done = ObjectDone(task=1, records=1, plain_bytes=1, framing="lines")
    for number in (1, 2):
        occurrences.object_read("a", f"file:///{number}", done, compressed_bytes=1, seconds=0.1)
    assert [line["object"] for line in lines(stream)] == ["file:///1", "file:///2"]


def test_the_journal_gets_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under systemd each line, of a traceback too, begins with the priority that the journal reads."""
    file = tmp_path / "journal"
    with file.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure(format_="console", stream=stream)
        occurrences.messages_returned("a", 1, "drain")
        try:
            raise ValueError("x")
        except ValueError as error:
            occurrences.internal_error("read", error)
    written = file.read_text().splitlines()
    assert written[0].startswith("<6>")
    assert len(written) > 3
    assert all(line.startswith("<3>") for line in written[1:])


@pytest.mark.parametrize("journal", ["", "nonsense", "1:2"])
def test_another_stream_gets_none(journal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is not the journal's is left alone."""
    monkeypatch.setenv("JOURNAL_STREAM", journal)
    stream = io.StringIO()
    logs.configure(format_="json", stream=stream)
    occurrences.messages_returned("a", 1, "drain")
    assert stream.getvalue().startswith("{")
