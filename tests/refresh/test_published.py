"""Data of lookup tables, from where it is published into the folder of tables."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from ingestd.detections.timetable import PublishedTable
from ingestd.model import ObjectRef
from ingestd.refresh.published import AGAIN_SECS, Publisher
from ingestd.stores.memory import MemoryObject, MemoryStore

USERS = PublishedTable(name="users", url="memory://bucket/luts/users.csv", period_minutes=10)


class Place:
    """A store, a folder of tables, a clock, and what fetches from the one into the other."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.folder = folder
        self.now = 0.0
        self.publisher = Publisher({"memory": self.store}, folder, 1_000, lambda: self.now)

    def publish(self, text: str, name: str = "users.csv") -> None:
        """Put a table's data where it is published."""
        self.store.put("bucket", f"luts/{name}", text.encode())

    async def turn(self, *tables: PublishedTable, after: float = 600.0) -> list[Any]:
        """A look at tables some seconds after the last; what was told as an error."""
        self.now += after
        with capture_logs() as lines:
            await self.publisher.turn(tables or (USERS,))
        return [line["error"] for line in lines if line["log_level"] == "error"]

    def files(self) -> dict[str, str]:
        """Tables in the folder."""
        return {file.name: file.read_text() for file in self.folder.iterdir() if file.is_file()}


class Closed(MemoryStore):
    """Fails in a way that no store should."""

    async def open(self, ref: ObjectRef, *, offset: int = 0) -> MemoryObject:
        """See `Store`."""
        raise RuntimeError("client has been closed")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Nothing is published yet."""
    return Place(tmp_path)


async def test_a_table_is_fetched_and_fetched_again_when_it_changed(place: Place) -> None:
    """Once per period; one that is as it was is not written again, by a new daemon neither."""
    place.publish("id\nana\n")
    assert await place.turn() == []
    assert place.files() == {"users.csv": "id\nana\n"}
    written = (place.folder / "users.csv").stat().st_ino
    place.publisher = Publisher({"memory": place.store}, place.folder, 1_000, lambda: place.now)
    await place.turn()
    assert (place.folder / "users.csv").stat().st_ino == written
    place.publish("id\nbob\n")
    await place.turn(after=60.0)
    assert place.files() == {"users.csv": "id\nana\n"}
    await place.turn(after=540.0)
    assert place.files() == {"users.csv": "id\nbob\n"}


async def test_one_that_cannot_be_fetched_stays_as_it_was_and_the_others_go_on(place: Place) -> None:
    """It is told, and tried again sooner."""
    place.publish("id\nana\n")
    place.publish("id\n1\n", "other.csv")
    other = PublishedTable(name="other", url="memory://bucket/luts/other.csv", period_minutes=1_440)
    gone = PublishedTable(name="gone", url="memory://bucket/luts/gone.csv", period_minutes=1_440)
    [said] = await place.turn(gone, other)
    assert "no such object" in said
    assert place.files() == {"other.csv": "id\n1\n"}
    place.publish("id\n2\n", "gone.csv")
    assert await place.turn(gone, other, after=AGAIN_SECS) == []
    assert place.files() == {"other.csv": "id\n1\n", "gone.csv": "id\n2\n"}


async def test_a_read_that_breaks_off_leaves_the_old_table(place: Place) -> None:
    """A file is put in place whole."""
    place.publisher = Publisher({"memory": place.store}, place.folder, 1 << 20, lambda: place.now)
    place.publish("id\nana\n")
    await place.turn()
    place.publish("x" * 200_000)
    place.store.cut_after["luts/users.csv"] = 70_000
    assert len(await place.turn()) == 1
    assert place.files() == {"users.csv": "id\nana\n"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://bucket/luts/users.exe", "no table ends like this"),
        ("memory://bucket/luts/..", "no table ends like this"),
        ("memory://bucket/.csv", "no table ends like this"),
        ("s3://bucket/users.csv", "reads no s3://"),
        ("nonsense", "reads no nonsense://"),
    ],
)
async def test_what_is_no_table_is_told(place: Place, url: str, said: str) -> None:
    """Nothing is written then."""
    [error] = await place.turn(PublishedTable(name="users", url=url, period_minutes=1))
    assert said in error
    assert place.files() == {}


async def test_a_table_larger_than_tables_may_be_is_not_fetched(place: Place) -> None:
    """It would fill the disk."""
    place.publish("x" * 1_001)
    [error] = await place.turn()
    assert "larger than enrichment.max_bytes" in error
    assert place.files() == {}


async def test_two_tables_of_one_name_are_told(place: Place) -> None:
    """One folder cannot keep both; two tables that share an object can share the file."""
    place.publish("id\nana\n")
    place.store.put("bucket", "elsewhere/users.csv", b"id\nbob\n")
    other = PublishedTable(name="other", url="memory://bucket/elsewhere/users.csv", period_minutes=10)
    same = PublishedTable(name="same", url=USERS.url, period_minutes=10)
    [error] = await place.turn(USERS, other, same)
    assert "the name users.csv is that of memory://bucket/luts/users.csv" in error
    assert place.files() == {"users.csv": "id\nana\n"}


async def test_a_mistake_of_ours_holds_up_no_other_table(place: Place) -> None:
    """Whatever is raised is told, and the table is tried again."""
    place.publish("id\n1\n", "other.csv")
    other = PublishedTable(name="other", url="memory://bucket/luts/other.csv", period_minutes=10)
    odd = PublishedTable(name="odd", url="odd://bucket/odd.csv", period_minutes=10)
    place.publisher = Publisher({"memory": place.store, "odd": Closed()}, place.folder, 1_000, lambda: place.now)
    assert await place.turn(odd, other) == ["RuntimeError: client has been closed"]
    assert place.files() == {"other.csv": "id\n1\n"}


async def test_two_daemons_fetch_into_one_folder(place: Place) -> None:
    """Neither writes into what the other is writing, and what one left behind when it was killed goes."""
    place.publish("id\n" + "ana\n" * 200)
    beside = place.folder / ".fetched"
    beside.mkdir()
    left, other = beside / "users.csv.1.partial", beside / "users.csv.2.partial"
    for file in (left, other):
        file.write_text("half")
    os.utime(left, (0, 0))
    second = Publisher({"memory": place.store}, place.folder, 1_000, lambda: place.now)
    await asyncio.gather(place.turn(), second.turn([USERS]))
    assert place.files() == {"users.csv": "id\n" + "ana\n" * 200}
    assert sorted(file.name for file in beside.iterdir()) == ["users.csv.2.partial", "users.csv.source"]
