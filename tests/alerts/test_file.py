"""The file destination: each alert once and durable, whatever crashes, rotates or writes beside it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ingestd.alerts.destinations import file
from ingestd.alerts.destinations.text import document
from ingestd.errors import Permanent, Retryable
from tests.alerts.samples import alert


def build(path: Path, timeout_secs: float = 5) -> file.FileDestination:
    """The destination on a path."""
    return file.build("log", file.Config(type="file", path=path, timeout_secs=timeout_secs))


def ids(path: Path) -> list[str]:
    """Alert ids in the file; every line must be whole JSON."""
    return [json.loads(line)["alert_id"] for line in path.read_text().splitlines()]


def line(number: int) -> bytes:
    """The line of an alert."""
    return msgspec.json.encode(document(alert(number))) + b"\n"


async def test_a_line_holds_the_whole_alert(tmp_path: Path) -> None:
    """Each line is the alert as a JSON object, its context parsed, and the file is for its owner only."""
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    assert await log.send(alert()) == str(path)
    found = json.loads(path.read_text())
    assert found["title"] == alert().title
    assert found["context"]["user"]["name"] == "root"
    assert found["created_at"] == "2023-11-14T22:13:20.000Z"
    assert path.stat().st_mode & 0o777 == 0o600
    await log.close()


async def test_an_alert_written_by_an_earlier_life_is_found(tmp_path: Path) -> None:
    """After a restart the file is searched, so that an alert whose answer was lost is not written again."""
    path = tmp_path / "alerts.jsonl"
    for _ in range(2):
        log = build(path)
        for number in range(3):
            await log.send(alert(number))
        await log.close()
    assert ids(path) == [alert(number).alert_id for number in range(3)]


@pytest.mark.parametrize("kept", [1, 5, 14, 60, -1], ids=lambda kept: f"{kept} bytes")
async def test_a_torn_last_line_is_removed_and_written_anew(tmp_path: Path, kept: int) -> None:
    """A crash in the middle of a line leaves no broken JSON, and its alert is there once in the end."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(line(1) + line(2)[:-1][:kept])
    log = build(path)
    await log.send(alert(2))
    await log.send(alert(3))
    assert ids(path) == [alert(number).alert_id for number in (1, 2, 3)]
    await log.close()


@pytest.mark.parametrize(
    "foreign", [b"# a note", b"# a note\nsecond", b"\xff\x00" * 50], ids=["line", "lines", "bytes"]
)
async def test_what_others_wrote_is_kept(tmp_path: Path, foreign: bytes) -> None:
    """A file with other text in it loses none of it; an unfinished last line of it is only ended."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(foreign)
    log = build(path)
    await log.send(alert(1))
    assert path.read_bytes() == foreign + b"\n" + line(1)
    await log.close()


async def test_a_long_line_of_others_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends is read in bounded memory."""
    monkeypatch.setattr(file, "_LONGEST_LINE", 1_000)
    monkeypatch.setattr(file, "_BLOCK", 300)
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(line(1) + b"x" * 10_000)
    log = build(path)
    await log.send(alert(1))
    await log.send(alert(2))
    assert path.read_bytes() == line(1) + b"x" * 10_000 + b"\n" + line(2)
    await log.close()


async def test_a_rotated_file_is_left_alone(tmp_path: Path) -> None:
    """After a rename a new file is begun, and what is in the old one is still known."""
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    await log.send(alert(1))
    path.rename(tmp_path / "alerts.1")
    await log.send(alert(1))
    await log.send(alert(2))
    assert ids(tmp_path / "alerts.1") == [alert(1).alert_id]
    assert ids(path) == [alert(2).alert_id]
    await log.close()


async def test_a_truncated_file_starts_again(tmp_path: Path) -> None:
    """Rotation by copy and truncation leaves no hole in the file."""
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    await log.send(alert(1))
    os.truncate(path, 0)
    await log.send(alert(2))
    assert path.read_bytes() == line(2)
    await log.close()


async def test_alerts_that_wait_together_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many alerts at once share syncs, and each is there once."""
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    numbers = [*range(50), *range(50)]
    await asyncio.gather(*(log.send(alert(number)) for number in numbers))
    assert sorted(ids(path)) == sorted(alert(number).alert_id for number in range(50))
    assert len(syncs) <= 4
    await log.close()


async def test_repeats_in_one_group_are_written_once(tmp_path: Path) -> None:
    """The same alert twice in one write is one line."""
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    await asyncio.gather(log.send(alert(0)), log.send(alert(1)), log.send(alert(1)), log.send(alert(1)))
    assert sorted(ids(path)) == sorted([alert(0).alert_id, alert(1).alert_id])
    await log.close()


async def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a write fails half-way the file is as before, the error may pass, and the next attempt succeeds."""
    path = tmp_path / "alerts.jsonl"
    log = build(path)
    await log.send(alert(1))
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 100:
            return real(descriptor, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", lambda descriptor, data: full(descriptor, data[:150]))
    with pytest.raises(Retryable, match="No space left"):
        await log.send(alert(2))
    monkeypatch.undo()
    assert path.read_bytes() == line(1)
    await log.send(alert(2))
    assert path.read_bytes() == line(1) + line(2)
    await log.close()


async def test_a_missing_folder_may_come_back(tmp_path: Path) -> None:
    """A folder that is not there, a mount perhaps, is a temporary failure and shows in the check."""
    path = tmp_path / "mount" / "alerts.jsonl"
    log = build(path)
    with pytest.raises(Retryable, match="No such file"):
        await log.send(alert(1))
    assert [check.ok for check in await log.check()] == [False]
    path.parent.mkdir()
    await log.send(alert(1))
    assert ids(path) == [alert(1).alert_id]
    await log.close()


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe that nobody reads does not hang the daemon: it is refused for good."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    log = build(path)
    with pytest.raises(Permanent, match="not a regular file"):
        await log.send(alert(1))
    await log.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from ingestd.alerts.destinations import file
from tests.alerts.samples import alert

async def main() -> None:
    log = file.build("log", file.Config(type="file", path=Path(sys.argv[1])))
    await asyncio.gather(*(log.send(alert(number)) for number in range(40)))
    for number in range(40, 60):
        await log.send(alert(number))
    await log.close()

asyncio.run(main())
"""


def test_several_processes_write_each_alert_once(tmp_path: Path) -> None:
    """Daemons that share the file and send the same alerts at the same time leave one whole line of each."""
    path = tmp_path / "alerts.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert sorted(ids(path)) == sorted(alert(number).alert_id for number in range(60))
