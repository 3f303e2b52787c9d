"""S3 Inventory in the place of a listing: formats, positions, and what must not be believed."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from pyarrow import orc, parquet

from ingestd.backfill.inventory import InventoryListing
from ingestd.backfill.listing import Entry
from ingestd.backfill.plan import Plan, place
from ingestd.errors import Permanent
from ingestd.stores.memory import MemoryStore

COLUMNS = {
    "CSV": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag",
    "Parquet": "message s3.inventory { required binary bucket (STRING); required binary key (STRING);"
    " optional int64 last_modified_date (TIMESTAMP(MILLIS,true)); }",
    "ORC": "struct<bucket:string,key:string,last_modified_date:timestamp>",
}
KEYS = ["logs/a b+ü.gz", "logs/old.gz", "other/x.gz"]
DAY = "2026-01-31T00:00:00.000Z"
ROWS = [
    ["src", "logs/a%20b%2B%C3%BC.gz", "v2", "true", "false", "7", DAY, "e1"],
    ["src", "logs/a%20b%2B%C3%BC.gz", "v1", "false", "false", "6", DAY, "e0"],
    ["src", "logs/deleted.gz", "v3", "true", "true", "", DAY, ""],
    ["src", "logs/old.gz", "v4", "true", "false", "5", "2025-01-31T00:00:00.000Z", "e2"],
    ["src", "other/x.gz", "v5", "true", "false", "4", DAY, "e3"],
]
FOLDER = "inv/src/daily/"


def as_csv() -> bytes:
    """The rows as S3 writes them: every value quoted, keys encoded."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(ROWS)
    return gzip.compress(text.getvalue().encode())


def as_table() -> pa.Table:
    """The same with types, keys plain."""
    names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag"]
    plain = {"logs/a%20b%2B%C3%BC.gz": KEYS[0]}
    rows = [
        [
            row[0],
            plain.get(row[1], row[1]),
            row[2],
            row[3] == "true",
            row[4] == "true",
            int(row[5]) if row[5] else None,
            datetime.fromisoformat(row[6]),
            row[7],
        ]
        for row in ROWS
    ]
    return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))


def as_parquet() -> bytes:
    """The rows in Parquet."""
    out = io.BytesIO()
    parquet.write_table(as_table(), out)
    return out.getvalue()


def as_orc() -> bytes:
    """The rows in ORC."""
    out = io.BytesIO()
    orc.write_table(as_table(), out)
    return out.getvalue()


FORMATS = {"CSV": as_csv, "Parquet": as_parquet, "ORC": as_orc}


def stored(
    form: str, data: bytes, *, digest: str = "", day: str = "2026-02-01T00-00Z", **changes: object
) -> MemoryStore:
    """A store with an inventory of one data file in it."""
    store = MemoryStore()
    manifest = {
        "sourceBucket": "src",
        "fileFormat": form,
        "fileSchema": COLUMNS.get(form, "key"),
        "files": [{"key": "inv/data/1", "size": len(data), "MD5checksum": digest or hashlib.md5(data).hexdigest()}],
    } | changes
    store.put("dest", "inv/data/1", data)
    store.put("dest", f"{FOLDER}{day}/manifest.json", json.dumps(manifest).encode())
    return store


async def walked(store: MemoryStore, url: str = "memory://src/logs/", after: str = "", **plan: object) -> list[Entry]:
    """What a walk by the newest inventory finds."""
    inventory = place(f"memory://dest/{FOLDER}")
    wanted = Plan(place=place(url), inventory=inventory, **plan)  # type: ignore[arg-type]
    return [entry async for entry in InventoryListing(store, wanted).walk(after)]


@pytest.mark.parametrize("form", FORMATS)
async def test_each_format_names_the_same_objects(form: str) -> None:
    """Current versions under the prefix, with keys decoded; delete markers and old versions are none."""
    found = await walked(stored(form, FORMATS[form]()))
    assert [(e.ref.key, e.ref.size, e.ref.etag) for e in found] == [(KEYS[0], 7, "e1"), (KEYS[1], 5, "e2")]
    assert {e.ref.bucket for e in found} == {"src"}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_walk_goes_on_after_a_position(form: str) -> None:
    """The row is counted, wanted or not."""
    store = stored(form, FORMATS[form]())
    first, second = await walked(store)
    assert await walked(store, after=first.position) == [second]
    assert await walked(store, after=second.position) == []


async def test_a_newer_inventory_is_walked_from_its_start() -> None:
    """The same row is another object there; the ledger knows those that were read."""
    store = stored("CSV", as_csv())
    last = (await walked(store))[-1].position
    newer = stored("CSV", as_csv(), day="2026-02-02T00-00Z", creationTimestamp="1769990400000")
    store.objects = store.objects | newer.objects
    assert [e.ref.key for e in await walked(store, after=last)] == KEYS[:2]


@pytest.mark.parametrize("form", FORMATS)
async def test_times_are_those_of_the_last_write(form: str) -> None:
    """As in a plain listing."""
    found = await walked(stored(form, FORMATS[form]()), since=datetime(2026, 1, 1, tzinfo=UTC))
    assert [e.ref.key for e in found] == [KEYS[0]]


async def test_the_newest_inventory_of_a_folder_is_taken() -> None:
    """S3 writes one a day beside folders of its own."""
    store = stored("CSV", as_csv())
    other = stored("CSV", as_csv(), day="2026-01-01T00-00Z", sourceBucket="wrong")
    store.objects = other.objects | store.objects
    store.put("dest", f"{FOLDER}hive/dt=2026-02-01-00-00/symlink.txt", b"")
    assert len(await walked(store)) == 2


@pytest.mark.parametrize(
    ("store", "text"),
    [
        (stored("CSV", as_csv(), digest="0" * 32), "not what the manifest says"),
        (stored("CSV", as_csv()[:-9]), "cannot be read"),
        (stored("CSV", gzip.compress(b'"too","few"\n')), "cannot be read"),
        (stored("Parquet", b"PAR1 nothing PAR1"), "cannot be read"),
        (stored("ORC", b"ORC nothing"), "cannot be read"),
        (stored("XLS", b""), "'XLS' of inventories is not known"),
        (stored("CSV", as_csv(), sourceBucket="another"), "is the inventory of another, not of src"),
        (stored("CSV", as_csv(), files="none"), "no manifest"),
        (stored("CSV", as_csv(), fileSchema="Bucket, Size"), "names no keys"),
        (stored("CSV", as_csv(), fileSchema="Bucket, Key, a, b, c, d, Size, ETag"), "row 1 cannot"),
        (MemoryStore(), "holds no inventory"),
    ],
)
async def test_what_is_damaged_or_of_another_bucket_is_refused(store: MemoryStore, text: str) -> None:
    """With the file and the reason; nothing of it is read."""
    with pytest.raises(Permanent, match=text):
        await walked(store)


async def test_times_need_their_column() -> None:
    """An inventory without it would silently name everything."""
    store = stored("CSV", as_csv(), fileSchema="Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, X, ETag")
    with pytest.raises(Permanent, match="LastModifiedDate"):
        await walked(store, since=datetime(2026, 1, 1, tzinfo=UTC))
    assert len(await walked(store)) == 2
