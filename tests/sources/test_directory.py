"""The directory source: which files it delivers, when, and that it delivers none twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncinotify import Inotify

from ingestd.errors import Retryable
from ingestd.model import Delivery
from ingestd.sources import directory
from ingestd.sources.directory import Config, DirectorySource
from ingestd.state import files
from ingestd.state.memory import MemoryState
from ingestd.telemetry import occurrences


class Clock:
    """Real time plus what a test adds, so that nothing has to wait."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.time() + self.added


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """Remembers across the sources of one test."""
    made = MemoryState()
    yield made
    await made.close()


@pytest.fixture
def clock() -> Clock:
    """Shared by a test and its sources."""
    return Clock()


def _source(inbox: Path, state: MemoryState, clock: Clock, **options: object) -> DirectorySource:
    config = Config.model_validate({"type": "directory", "path": str(inbox), "settle_secs": 60, **options})
    return DirectorySource("inbox", config, state, clock=clock)


def _paths(deliveries: list[Delivery]) -> list[str]:
    return sorted(json.loads(delivery.body)["path"] for delivery in deliveries)


async def _all(source: DirectorySource, clock: Clock) -> list[Delivery]:
    """Everything that is ready once what settles has settled."""
    clock.added += 120
    received: list[Delivery] = []
    while batch := await source.receive(1000, 0.001):
        received += batch
    return received


async def test_what_lies_there_at_the_start_is_delivered_once_settled(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """A walk finds the files of the whole tree."""
    (inbox / "deep" / "er").mkdir(parents=True)
    for name in ("a.log", "deep/b.log", "deep/er/c.log"):
        (inbox / name).write_text(name)
    source = _source(inbox, state, clock)
    assert await source.receive(10, 0.001) == []
    assert _paths(await _all(source, clock)) == ["a.log", "deep/b.log", "deep/er/c.log"]
    await source.close()


async def test_a_file_renamed_in_or_closed_comes_at_once(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """No settling for a writer that was seen to finish."""
    source = _source(inbox, state, clock)
    assert await source.receive(10, 0.001) == []
    (inbox / "x.tmp").write_text("renamed")
    os.rename(inbox / "x.tmp", inbox / "renamed.log")
    (inbox / "closed.log").write_text("closed")
    received = await source.receive(10, 5.0)
    while len(received) < 2:
        received += await source.receive(10, 5.0)
    assert _paths(received) == ["closed.log", "renamed.log"]
    await source.close()


async def test_a_file_that_is_still_open_is_left_alone(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """A half-written file waits until its writer closes it."""
    source = _source(inbox, state, clock)
    assert await source.receive(10, 0.001) == []
    with (inbox / "half.log").open("w") as writing:
        writing.write("first half")
        writing.flush()
        assert await source.receive(10, 0.05) == []
    assert _paths(await source.receive(10, 5.0)) == ["half.log"]
    await source.close()


async def test_a_restart_delivers_nothing_again(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """What was acknowledged is remembered by its signature."""
    (inbox / "a.log").write_text("a")
    first = _source(inbox, state, clock)
    await first.ack(await _all(first, clock))
    await first.close()
    second = _source(inbox, state, clock)
    assert await _all(second, clock) == []
    await second.close()


async def test_what_was_not_acknowledged_comes_again_after_a_restart(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Held is not finished."""
    (inbox / "a.log").write_text("a")
    first = _source(inbox, state, clock)
    assert len(await _all(first, clock)) == 1
    await first.close()
    second = _source(inbox, state, clock)
    assert _paths(await _all(second, clock)) == ["a.log"]
    await second.close()


async def test_a_file_that_changes_while_held_comes_again_after_its_acknowledgement(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """What is appended meanwhile is not missed."""
    (inbox / "a.log").write_text("one\n")
    source = _source(inbox, state, clock)
    held = await _all(source, clock)
    with (inbox / "a.log").open("a") as writing:
        writing.write("two\n")
    assert await source.receive(10, 0.05) == []
    await source.ack(held)
    assert _paths(await source.receive(10, 5.0)) == ["a.log"]
    await source.close()


async def test_files_in_a_new_folder_are_found(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """A folder that appears is watched and walked, also when it was filled before."""
    source = _source(inbox, state, clock)
    assert await source.receive(10, 0.001) == []
    filled = inbox.parent / "filled"
    (filled / "inner").mkdir(parents=True)
    (filled / "inner" / "old.log").write_text("old")
    os.rename(filled, inbox / "filled")
    assert await source.receive(1, 0.05) == []
    assert _paths(await _all(source, clock)) == ["filled/inner/old.log"]
    (inbox / "filled" / "inner" / "new.log").write_text("new")
    assert _paths(await source.receive(10, 5.0)) == ["filled/inner/new.log"]
    await source.close()


async def test_hidden_and_temporary_files_links_and_pipes_are_left_alone(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Only plain files that match are messages."""
    (inbox / ".hidden").write_text("x")
    (inbox / "copying.part").write_text("x")
    (inbox / "outside").symlink_to("/etc/hostname")
    os.mkfifo(inbox / "pipe.log")
    (inbox / "plain.log").write_text("x")
    source = _source(inbox, state, clock)
    assert _paths(await _all(source, clock)) == ["plain.log"]
    await source.close()


async def test_only_included_paths_are_delivered(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """`include` and `exclude` are patterns of relative paths."""
    (inbox / "AWSLogs").mkdir()
    for name in ("AWSLogs/a.json.gz", "AWSLogs/digest.json.gz", "b.json.gz"):
        (inbox / name).write_text("x")
    source = _source(inbox, state, clock, include=["AWSLogs/*"], exclude=["*digest*"])
    assert _paths(await _all(source, clock)) == ["AWSLogs/a.json.gz"]
    await source.close()


async def test_a_name_that_is_not_unicode_is_delivered(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """The file system's bytes come through as they are."""
    name = os.fsdecode(b"caf\xe9.log")
    (inbox / name).write_text("x")
    source = _source(inbox, state, clock)
    received = await _all(source, clock)
    assert _paths(received) == [name]
    await source.ack(received)
    await source.close()
    again = _source(inbox, state, clock)
    assert await _all(again, clock) == []
    await again.close()


async def test_without_waiting_the_source_is_empty_only_when_nothing_settles(inbox: Path, state: MemoryState) -> None:
    """`run --once` right after copying files still reads them."""
    (inbox / "fresh.log").write_text("x")
    source = _source(inbox, state, Clock(), settle_secs=0.2)
    assert _paths(await source.receive(10, 0.0)) == ["fresh.log"]
    await source.close()


async def test_without_waiting_a_file_that_was_given_back_comes_again(inbox: Path, state: MemoryState) -> None:
    """`run --once` does not end while another daemon's file may become its own."""
    (inbox / "a.log").write_text("x")
    source = _source(inbox, state, Clock(), settle_secs=0)
    held = await source.receive(10, 0.0)
    await source.nack(held, delay_secs=0.2)
    assert _paths(await source.receive(10, 0.0)) == ["a.log"]
    await source.close()


async def test_ten_thousand_files_are_walked_once(
    inbox: Path, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One walk serves all files, however they are taken and acknowledged."""
    for number in range(10_000):
        (inbox / f"{number:05d}.log").write_bytes(b"x")
    scans = []
    scandir = os.scandir

    def counted(path: str) -> object:
        scans.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    source = _source(inbox, state, clock)
    clock.added += 120
    seen = 0
    while batch := await source.receive(700, 0.001):
        seen += len(batch)
        await source.ack(batch)
    assert seen == 10_000
    assert len(scans) == 1
    await source.close()


async def test_a_modification_time_in_the_future_does_not_keep_a_file_from_settling(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Whoever set it by hand: what counts is when it was set."""
    (inbox / "a.log").write_text("a")
    os.utime(inbox / "a.log", (time.time() + 1e6, time.time() + 1e6))
    source = _source(inbox, state, clock)
    assert _paths(await _all(source, clock)) == ["a.log"]
    await source.close()


async def test_a_folder_that_is_renamed_is_watched_under_its_new_name(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Filled under a hidden name, then shown: what is written there later is found too."""
    (inbox / ".incoming").mkdir()
    source = _source(inbox, state, clock)
    assert await source.receive(10, 0.001) == []
    os.rename(inbox / ".incoming", inbox / "day1")
    assert await source.receive(10, 0.05) == []
    assert not source._watch.busy
    (inbox / "day1" / "late.log").write_text("x")
    assert _paths(await source.receive(10, 5.0)) == ["day1/late.log"]
    await source.close()


async def test_files_are_not_lost_when_the_state_cannot_be_asked(
    inbox: Path, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are candidates again at the next call."""
    (inbox / "a.log").write_text("a")
    source = _source(inbox, state, clock)
    clock.added += 120

    async def busy(_: object) -> None:
        raise Retryable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(state, "read", busy)
        with pytest.raises(Retryable):
            await source.receive(10, 0.001)
    assert _paths(await source.receive(10, 0.001)) == ["a.log"]
    await source.close()


async def test_a_folder_that_is_not_there_is_an_error_until_it_is(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Not made yet, or taken away while it was watched: it is not taken for empty, and then read whole."""
    shutil.rmtree(inbox)
    source = _source(inbox, state, clock)
    for round_number in range(2):
        with pytest.raises(Retryable, match="there is no folder"):
            await source.receive(10, 0.001)
        os.mkdir(inbox)
        (inbox / f"{round_number}.log").write_text("a")
        received = await _all(source, clock)
        assert _paths(received) == [f"{round_number}.log"]
        await source.ack(received)
        shutil.rmtree(inbox)
    await source.close()


async def test_a_folder_that_cannot_be_watched_is_walked_and_said_to_be(
    inbox: Path, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has no watches left: files come at the next walk, the warning is given once, `check` tells."""
    warned: list[str] = []
    monkeypatch.setattr(occurrences, "folder_not_watched", lambda source, reason: warned.append(reason))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "add_watch", full)
    open_before = len(os.listdir("/proc/self/fd"))
    source = _source(inbox, state, clock, rescan_secs=30)
    assert await source.receive(10, 0.01) == []
    (inbox / "a.log").write_text("a")
    assert _paths(await _all(source, clock)) == ["a.log"]
    assert len(warned) == 1
    assert "No space left" in warned[0]
    assert [check.ok for check in await source.check()] == [True, False]
    assert len(os.listdir("/proc/self/fd")) == open_before
    await source.close()


async def test_a_listener_that_fails_is_told_and_replaced_by_walking(
    inbox: Path, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the watching costs promptness, not files."""
    errors: list[BaseException] = []
    monkeypatch.setattr(occurrences, "internal_error", lambda stage, error, **_: errors.append(error))

    async def broken(_: Inotify) -> None:
        raise ValueError("not an event")

    monkeypatch.setattr(Inotify, "get", broken)
    source = _source(inbox, state, clock, rescan_secs=30)
    assert await source.receive(10, 0.01) == []
    (inbox / "a.log").write_text("a")
    assert _paths(await _all(source, clock)) == ["a.log"]
    assert [str(error) for error in errors] == ["not an event"]
    assert "listener failed" in source.degraded
    await source.close()


async def test_a_file_whose_permissions_changed_comes_again(inbox: Path, state: MemoryState, clock: Clock) -> None:
    """One that could not be read was set aside; now it may be readable."""
    (inbox / "a.log").write_text("a")
    source = _source(inbox, state, clock)
    held = await _all(source, clock)
    await source.dead_letter(held[0], "forbidden", "this user may not read it")
    (inbox / "a.log").chmod(0o600)
    assert await source.receive(10, 0.05) == []
    again = await _all(source, clock)
    assert _paths(again) == ["a.log"]
    assert again[0].message_id != held[0].message_id
    await source.close()


async def test_a_file_that_is_renamed_while_it_is_read_waits_for_that_reading(
    inbox: Path, state: MemoryState, clock: Clock
) -> None:
    """Under its new name it comes when what was read under the old one is settled."""
    (inbox / "a.log").write_text("a")
    source = _source(inbox, state, clock)
    held = await _all(source, clock)
    os.rename(inbox / "a.log", inbox / "a.log.1")
    assert await _all(source, clock) == []
    await source.ack(held)
    assert _paths(await _all(source, clock)) == ["a.log.1"]
    assert await state.read(lambda tx: files.known_after(tx, "inbox", "", 10)) == []
    await source.close()


async def test_paths_that_are_gone_are_forgotten_after_a_walk(
    inbox: Path, state: MemoryState, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered does not grow for ever; what is still there stays known."""
    monkeypatch.setattr(directory, "SWEEP_PATHS", 3)
    for number in range(10):
        (inbox / f"{number}.log").write_text("x")
    source = _source(inbox, state, clock)
    await source.ack(await _all(source, clock))
    for number in range(8):
        (inbox / f"{number}.log").unlink()
    for left in (10, 2):  # a file that was renamed may still be found under its new path
        clock.added += 1000
        assert await source.receive(10, 0.05) == []
        assert source._sweep is not None
        await source._sweep
        assert len(await state.read(lambda tx: files.known_after(tx, "inbox", "", 100))) == left
    assert await state.read(lambda tx: files.known_after(tx, "inbox", "", 100)) == ["8.log", "9.log"]
    await source.close()
