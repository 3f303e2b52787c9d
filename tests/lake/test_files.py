"""The durable file layer and the names in it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.errors import Permanent, Retryable
from ingestd.lake import layout
from ingestd.lake.files import LocalFiles
from tests.lake.disks import ForgetfulDisk

DATA = memoryview(b"rows")


def test_what_was_written_and_synced_survives_a_power_cut(tmp_path: Path) -> None:
    """Content, names, and every new folder up to the lake itself."""
    disk = ForgetfulDisk(tmp_path / "lake")
    files = LocalFiles(tmp_path / "lake", disk)
    files.write("_staging/b/1", DATA)
    files.sync()
    disk.cut_power()
    assert (tmp_path / "lake/_staging/b/1").read_bytes() == DATA


def test_what_was_not_synced_is_lost(tmp_path: Path) -> None:
    """The disk of these tests does lose names; otherwise the tests above would show nothing."""
    disk = ForgetfulDisk(tmp_path / "lake")
    files = LocalFiles(tmp_path / "lake", disk)
    files.write("_staging/b/1", DATA)
    disk.cut_power()
    assert not (tmp_path / "lake").exists()


def test_a_rename_survives_in_its_new_place(tmp_path: Path) -> None:
    """Both folders are synced; before that, the file is still in its old place."""
    disk = ForgetfulDisk(tmp_path / "lake")
    files = LocalFiles(tmp_path / "lake", disk)
    files.write("_staging/b/1", DATA)
    files.sync()
    files.move("_staging/b/1", "events/x/1")
    disk.cut_power()
    assert (tmp_path / "lake/_staging/b/1").exists()
    files.move("_staging/b/1", "events/x/1")
    files.sync()
    disk.cut_power()
    assert (tmp_path / "lake/events/x/1").read_bytes() == DATA
    assert not (tmp_path / "lake/_staging/b/1").exists()


@pytest.mark.parametrize("syncs", range(4))
def test_a_power_cut_amid_a_sync_leaves_the_file_in_one_of_its_places(tmp_path: Path, syncs: int) -> None:
    """The old name is not given up for good before the new one is there for good, with every folder above it."""

    class Failing(ForgetfulDisk):
        def sync_folder(self, path: Path) -> None:
            if self.syncs == until:
                raise OSError("the power is cut")
            super().sync_folder(path)

    until = -1
    disk = Failing(tmp_path / "lake")
    files = LocalFiles(tmp_path / "lake", disk)
    files.write("_staging/b/1", DATA)
    files.sync()
    files.move("_staging/b/1", "events/x/1")
    until = disk.syncs + syncs
    with suppress(Retryable):
        files.sync()
    disk.cut_power()
    assert any((tmp_path / "lake" / place).exists() for place in ("_staging/b/1", "events/x/1"))


def test_known_folders_are_not_synced_again(tmp_path: Path) -> None:
    """A batch costs one sync per folder that it touches."""
    disk = ForgetfulDisk(tmp_path / "lake")
    files = LocalFiles(tmp_path / "lake", disk)
    files.write("events/x/1", DATA)
    files.sync()
    before = disk.syncs
    files.write("events/x/2", DATA)
    files.sync()
    assert disk.syncs == before + 1


def test_moving_twice_is_moving_once(tmp_path: Path) -> None:
    """Recovery may repeat any step."""
    files = LocalFiles(tmp_path)
    files.write("_staging/b/1", DATA)
    files.move("_staging/b/1", "events/1")
    files.move("_staging/b/1", "events/1")
    assert (tmp_path / "events/1").read_bytes() == DATA


def test_a_file_that_is_nowhere_is_permanent(tmp_path: Path) -> None:
    """Trying again cannot help; the message says what to do."""
    with pytest.raises(Permanent, match="restore the file") as caught:
        LocalFiles(tmp_path).move("_staging/b/1", "events/1")
    assert caught.value.reason == "lake_file_missing"


def test_an_error_of_the_system_is_retryable_and_names_the_place(tmp_path: Path) -> None:
    """An operator mends it; meanwhile nothing is dropped."""
    (tmp_path / "events").write_bytes(b"a file where a folder should be")
    with pytest.raises(Retryable, match="events"):
        LocalFiles(tmp_path).write("events/1", DATA)


def test_a_partition_that_was_deleted_meanwhile_is_made_again(tmp_path: Path) -> None:
    """People delete old days while the daemon runs."""
    files = LocalFiles(tmp_path)
    files.write("events/day/1", DATA)
    files.sync()
    (tmp_path / "events/day/1").unlink()
    (tmp_path / "events/day").rmdir()
    files.write("events/day/2", DATA)
    assert (tmp_path / "events/day/2").exists()


def test_discarding_removes_a_batch_and_nothing_else(tmp_path: Path) -> None:
    """And may be repeated."""
    files = LocalFiles(tmp_path)
    files.write("_staging/one/1", DATA)
    files.write("_staging/two/1", DATA)
    files.discard("one")
    files.discard("one")
    assert files.staged_batches() == ["two"]


def test_names_are_those_of_hive() -> None:
    """Readers get log type and day as columns."""
    where = layout.folder("events", "AWS.CloudTrail", "2026-07-01")
    assert where == "events/p_log_type=AWS.CloudTrail/p_event_date=2026-07-01"
    assert layout.folder("rejects", "", "2026-07-01").split("/")[1] == "p_log_type=__HIVE_DEFAULT_PARTITION__"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_log_type_leaves_its_folder(name: str) -> None:
    """Whatever a schema is called, its folder is one plain name below the table, and tells the name again."""
    folder = layout.log_type_folder(name)
    assert "/" not in folder
    assert "\0" not in folder
    assert folder not in {".", ".."}
    assert len(folder.encode()) < 255
    assert layout.log_type_of(folder) == name or len(name.encode()) > 60


@pytest.mark.parametrize("day", ["", "2026-7-1", "../x", "2026-07-01/..", "\uff12026-07-01"])
def test_a_day_is_a_day(day: str) -> None:
    """The day comes from an event, so it is checked where it becomes a name."""
    with pytest.raises(ValueError, match="not a day"):
        layout.folder("events", "x", day)


def test_batch_ids_differ_and_follow_time() -> None:
    """Two batches of one second do not meet."""
    assert layout.new_batch_id() != layout.new_batch_id()
    assert layout.new_batch_id()[:8].isdigit()


def test_two_daemons_may_sweep_the_same_staging_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other one removed in between is what we want: the rest of the folder goes too."""
    files = LocalFiles(tmp_path / "lake")
    files.write("_staging/b/1", DATA)
    files.write("_staging/b/2", DATA)
    unlink = os.unlink

    def late(*args: Any, **kwargs: Any) -> None:
        unlink(*args, **kwargs)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "unlink", late)
    files.discard("b")
    assert files.staged_batches() == []
    files.discard("b")


def test_nothing_is_staged_in_a_lake_that_is_not_there(tmp_path: Path) -> None:
    """The first batch makes the folder."""
    assert LocalFiles(tmp_path / "lake").staged_batches() == []
