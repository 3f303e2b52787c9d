"""Append blobs that grow after their notice, as diagnostic settings write them: each record once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ingestd.errors import Permanent
from ingestd.model import Growth, ObjectRef
from ingestd.stores import azure_blob
from ingestd.stores._append_blob import Following, closes_at, is_made_of_lines
from ingestd.stores.azure_blob import FIRST_BYTES, AzureBlobStore
from tests.azure.servers import NAME, Azure
from tests.azure.site import Site
from tests.proofs.hostile import record

HOURLY = "insights-logs-signinlogs/tenantId=t/y=2024/m=05/d=01/h=10/m=00/PT1H.json"
ELEVEN = datetime(2024, 5, 1, 11, tzinfo=UTC).timestamp()


def lines(*ids: str) -> bytes:
    """Records as JSON lines."""
    return b"".join(json.dumps(record(event_id)).encode() + b"\n" for event_id in ids)


# --- when a blob is closed, and what may be read before -----------------------------------------------------


def test_an_hourly_blob_closes_after_its_hour_its_last_append_and_the_grace() -> None:
    """Logs of an hour come late; what is appended late keeps the blob open."""
    following = Following(grace_secs=900)
    assert closes_at(HOURLY, ELEVEN - 1800, following) == ELEVEN + 900
    assert closes_at(HOURLY, ELEVEN + 600, following) == ELEVEN + 600 + 900


@pytest.mark.parametrize("path", ["logs/app.log", "logs/y=2024/m=13/d=01/h=10/m=00/PT1H.json"])
def test_a_blob_without_an_hour_closes_when_it_was_quiet_for_long(path: str) -> None:
    """Nobody knows how long somebody else's blob goes on."""
    assert closes_at(path, 1000.0, Following(grace_secs=900, quiet_secs=3600)) == 1000 + 3600 + 900


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"a": 1}\n{"a": 2', True),
        (b'\xef\xbb\xbf{"a": 1}\r\n', True),
        (b"a plain line\nanother", True),
        (b'{"a": 1}', False),
        (b'{\n  "a": 1\n}\n', False),
        (b"[\n1,\n2]\n", False),
        (b"\x1f\x8b\x08\n", False),
        (b"a\0b\n", False),
        (b"", False),
        (b"[" * 100_000 + b"\n", False),
    ],
)
def test_only_lines_are_read_before_the_close(head: bytes, expected: bool) -> None:
    """Half of a document would be a reject, and take the ordinal of a record."""
    assert is_made_of_lines(head) is expected


# --- opening ------------------------------------------------------------------------------------------------


@pytest.fixture
async def store(azure: Azure) -> AsyncIterator[AzureBlobStore]:
    """A store that takes append blobs for open."""
    made = azure_blob.build(azure.account(), following={"poll_secs": 7.0})
    yield made
    await made.close()


async def read(store: AzureBlobStore, ref: ObjectRef) -> bytes:
    """The bytes of the object as it was opened."""
    async with await store.open(ref) as opened:
        return b"".join([piece async for piece in opened.chunks()])


async def test_an_open_blob_is_read_up_to_its_last_whole_line(azure: Azure, store: AzureBlobStore) -> None:
    """And asks to be looked at again."""
    container = azure.container()
    azure.append(container, "a.json", lines("a", "b") + b'{"half')
    async with await store.open(ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")) as opened:
        assert b"".join([piece async for piece in opened.chunks()]) == lines("a", "b")
        assert opened.look_again_secs == 7.0
        assert opened.size == len(lines("a", "b"))


async def test_a_closed_blob_is_read_to_its_end(azure: Azure) -> None:
    """And is not looked at again."""
    container = azure.container()
    azure.append(container, "a.json", lines("a") + b'{"half')
    store = azure_blob.build(azure.account(), following={"quiet_secs": 0.0, "grace_secs": 0.0})
    store._clock = lambda: time.time() + 10
    async with await store.open(ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")) as opened:
        assert b"".join([piece async for piece in opened.chunks()]) == lines("a") + b'{"half'
        assert opened.look_again_secs == 0.0
    await store.close()


async def test_growth_is_read_from_where_it_was_left(azure: Azure, store: AzureBlobStore) -> None:
    """Under the same identity, and without the bytes that were read."""
    container = azure.container()
    ref = ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")
    azure.append(container, "a.json", lines("a"))
    async with await store.open(ref) as first:
        identity, size = first.identity, first.size or 0
    azure.append(container, "a.json", lines("b"))
    grown = msgspec.structs.replace(ref, growth=Growth(identity=identity, size=size, records=1))
    async with await store.open(grown) as opened:
        assert (opened.identity, opened.start, opened.grown_from) == (identity, size, identity)
        assert b"".join([piece async for piece in opened.chunks()]) == lines("b")
        azure.append(container, "a.json", lines("c"))
        assert await read(store, opened.ref) == lines("b")  # as when a child has died over it


async def test_a_blob_that_did_not_grow_has_nothing_to_read(azure: Azure, store: AzureBlobStore) -> None:
    """The range behind its end is no error."""
    container = azure.container()
    ref = ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")
    azure.append(container, "a.json", lines("a"))
    async with await store.open(ref) as first:
        growth = Growth(identity=first.identity, size=first.size or 0, records=1)
    async with await store.open(msgspec.structs.replace(ref, growth=growth)) as opened:
        assert (opened.size, opened.start, opened.grown_from) == (growth.size, growth.size, None)


async def test_rows_below_a_header_are_read_from_the_start(azure: Azure, store: AzureBlobStore) -> None:
    """They mean nothing without it; the ledger skips what is committed."""
    container = azure.container()
    ref = ObjectRef(store="az", bucket=NAME, key=f"{container}/a.csv")
    azure.append(container, "a.csv", b"x,y\n1,2\n")
    async with await store.open(ref) as first:
        growth = Growth(identity=first.identity, size=first.size or 0, records=2)
    azure.append(container, "a.csv", b"3,4\n")
    async with await store.open(msgspec.structs.replace(ref, growth=growth)) as opened:
        assert (opened.start, opened.grown_from) == (0, first.identity)
        assert b"".join([piece async for piece in opened.chunks()]) == b"x,y\n1,2\n3,4\n"


async def test_the_end_of_the_last_line_is_found_in_a_large_blob(azure: Azure, store: AzureBlobStore) -> None:
    """Beyond what is at hand, and before a long half line."""
    container = azure.container()
    whole = b'{"a": "' + b"x" * (3 * FIRST_BYTES) + b'"}\n'
    azure.append(container, "a.json", b'{"a": 1}\n' + whole)
    azure.append(container, "a.json", b'{"half": "' + b"y" * (3 * FIRST_BYTES))
    assert await read(store, ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")) == b'{"a": 1}\n' + whole


async def test_a_blob_that_became_shorter_is_told(azure: Azure, store: AzureBlobStore) -> None:
    """It was written anew in the same second; its records would be taken for the old ones."""
    container = azure.container()
    ref = ObjectRef(store="az", bucket=NAME, key=f"{container}/a.json")
    azure.append(container, "a.json", lines("a"))
    async with await store.open(ref) as first:
        growth = Growth(identity=first.identity, size=10_000, records=3)
    with pytest.raises(Permanent, match="became shorter") as caught:
        await store.open(msgspec.structs.replace(ref, growth=growth))
    assert caught.value.reason == "rewritten"


# --- the whole program --------------------------------------------------------------------------------------


def followed(site: Site) -> int:
    """How many blobs the ledger has yet to look at again."""
    with contextlib.closing(sqlite3.connect(site.folder / "state.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM growing").fetchone()[0])


async def until(condition: object, site: Site, secs: float = 300.0) -> None:
    """Wait for what the daemon does."""
    deadline = time.monotonic() + secs
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, site.log_tail()
        await asyncio.sleep(0.1)


async def test_sixty_appends_with_a_restart_in_between(azure: Azure, tmp_path: Path) -> None:
    """One notice of an empty blob, sixty appends, a daemon that is killed and one that goes on: every record once.

    The message is acknowledged at the first look, and the blob is forgotten when it is closed, which here is when the
    last daemon is told to wait no longer.
    """
    container, queue, poison = azure.container(), azure.queue(), azure.queue()
    site = Site(tmp_path / "site", azure, queue, poison, append_poll_secs=0.2)
    azure.append(container, "PT1H.json", b"")
    azure.announce(queue, container, "PT1H.json", blobType="AppendBlob", contentLength=0)
    wanted: Counter[str] = Counter()

    async def append(minutes: range) -> None:
        for minute in minutes:
            ids = [f"{minute}-{index}" for index in range(2)]
            data, cut = lines(*ids), minute % 3 * 50  # some appends end within a line
            await asyncio.to_thread(azure.append, container, "PT1H.json", data[:cut])
            await asyncio.to_thread(azure.append, container, "PT1H.json", data[cut:])
            wanted.update(ids)

    daemon = site.start()
    try:
        await append(range(1))
        await until(lambda: azure.left(queue) == 0, site)
        assert followed(site) == 1
        await append(range(1, 30))
        await until(lambda: len(site.events()) >= 20, site)
        daemon.kill()
        daemon.wait()
        await append(range(30, 35))
        daemon = site.start()
        await append(range(35, 50))
        await until(lambda: len(site.events()) == 100, site)
        await append(range(50, 60))
        await until(lambda: len(site.events()) == 120, site)
        assert followed(site) == 1
        daemon.terminate()
        assert daemon.wait(60) == 0
        site = Site(tmp_path / "site", azure, queue, poison, append_poll_secs=0.2, append_quiet_secs=0.0)
        daemon = site.start()
        await until(lambda: followed(site) == 0, site)
    finally:
        daemon.terminate()
        assert daemon.wait(60) == 0
    assert len(wanted) == 120
    assert site.events() == wanted
    assert site.rejects() == Counter()
    assert azure.left(poison) == 0


async def test_a_blob_that_goes_away_while_it_is_followed_is_followed_no_more(azure: Azure, tmp_path: Path) -> None:
    """The table of rejects tells of it, once."""
    container, queue, poison = azure.container(), azure.queue(), azure.queue()
    site = Site(tmp_path / "site", azure, queue, poison, append_poll_secs=0.2)
    azure.append(container, "a.json", lines("a"))
    azure.announce(queue, container, "a.json", blobType="AppendBlob")
    site.drain()
    assert (site.events(), followed(site)) == (Counter(["a"]), 1)
    azure.blobs.get_blob_client(container, "a.json").delete_blob()
    daemon = site.start()
    await until(lambda: followed(site) == 0, site)
    daemon.terminate()
    assert daemon.wait(60) == 0
    assert site.rejects() == Counter(["not_found"])


async def test_a_backfill_leaves_alone_what_a_daemon_follows(azure: Azure, tmp_path: Path) -> None:
    """It would read what was appended as its own order says, such as without detections."""
    container, queue, listed = azure.container(), azure.queue(), azure.container()
    site = Site(tmp_path / "site", azure, queue, azure.queue())
    azure.append(container, "a.json", lines("a"))
    azure.announce(queue, container, "a.json", blobType="AppendBlob")
    await asyncio.to_thread(site.drain)
    azure.append(container, "a.json", lines("b"))
    azure.put(listed, "x/c.json", lines("c"))
    with contextlib.closing(sqlite3.connect(site.folder / "state.db")) as connection, connection:
        connection.execute("UPDATE growing SET due_at = ?", (time.time(),))
    order = ("backfill", f"az://{NAME}/{listed}/x/", "-c", "ingestd.yml", "--no-detections")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "ingestd", *order, cwd=site.folder)
    assert await process.wait() == 0
    assert (site.events(), followed(site)) == (Counter(["a", "c"]), 1)
    await asyncio.to_thread(site.drain)
    assert site.events() == Counter(["a", "b", "c"])
