"""S3 Inventory: a list of a bucket's objects that S3 writes each day or week, in place of listing millions of keys.

The manifest names data files in CSV (gzip), Parquet or ORC. Each is fetched to a temporary file and checked against
the manifest's digest before a row of it is believed. A position names the manifest, and in it the file and the
row: in a newer manifest the same row is another object, so that a walk by it begins at the start.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import itertools
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import unquote_plus

import msgspec

from ingestd.backfill.listing import Entry, Listing
from ingestd.backfill.plan import Plan
from ingestd.errors import Permanent
from ingestd.model import ObjectRef
from ingestd.stores.base import Store

MOST_MANIFEST_BYTES = 64 * 1024 * 1024
MOST_LINE_BYTES = 64 * 1024
ROWS = 1_000
"""Rows that are handed over at once from the thread that reads them."""
_DATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\dZ/$")
_NAMES = {
    "Bucket": "bucket",
    "Key": "key",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
}
"""Columns as CSV manifests call them → as Parquet and ORC do."""


class _File(msgspec.Struct):
    key: str
    digest: str = msgspec.field(name="MD5checksum")


class _Manifest(msgspec.Struct):
    source_bucket: str = msgspec.field(name="sourceBucket")
    format: str = msgspec.field(name="fileFormat")
    columns: str = msgspec.field(name="fileSchema")
    files: list[_File]


Row = Mapping[str, Any]


class InventoryListing(Listing):
    """See the module. `plan.inventory` is a manifest, or the folder in which S3 writes a new one each time."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan

    async def walk(self, after: str = "") -> AsyncIterator[Entry]:
        """See `Listing`."""
        place = self._plan.inventory
        assert place is not None
        manifest, mark = await self._manifest()
        file_at, first_row = _start(after, mark)
        for number, file in enumerate(manifest.files):
            if number < file_at:
                continue
            skip = first_row if number == file_at else 0
            with tempfile.TemporaryFile() as data:
                await self._fetch(ObjectRef(store=place.scheme, bucket=place.bucket, key=file.key), file.digest, data)
                rows = itertools.islice(enumerate(_rows(data, manifest, file.key)), skip, None)
                while some := await asyncio.to_thread(lambda: list(itertools.islice(rows, ROWS))):  # noqa: B023
                    for row_number, row in some:
                        try:
                            entry = self._entry(f"{mark}:{number}:{row_number}", row)
                        except ValueError as error:
                            text = f"{file.key}: row {row_number + 1} cannot be read: {error}"
                            raise Permanent(text, reason="bad_inventory") from None
                        if entry is not None:
                            yield entry

    def _entry(self, position: str, row: Row) -> Entry | None:
        if _false(row.get("is_latest", True)) or not _false(row.get("is_delete_marker", False)):
            return None
        plan, size = self._plan, row.get("size")
        ref = ObjectRef(
            store=plan.place.scheme,
            bucket=plan.place.bucket,
            key=str(row.get("key", "")),
            size=int(size) if size not in (None, "") else None,
            etag=str(row.get("e_tag") or "").strip('"') or None,
        )
        return Entry(position, ref) if plan.wants(ref, _time(row.get("last_modified_date"))) else None

    async def _manifest(self) -> tuple[_Manifest, str]:
        """The manifest, and a mark that no other one has."""
        place = self._plan.inventory
        assert place is not None
        key = place.prefix
        if not key.endswith(".json"):
            key = await self._newest(key if not key or key.endswith("/") else f"{key}/")
        ref = ObjectRef(store=place.scheme, bucket=place.bucket, key=key)
        with io.BytesIO() as data:
            await self._fetch(ref, None, data, most=MOST_MANIFEST_BYTES)
            mark = hashlib.sha256(data.getvalue()).hexdigest()[:16]
            try:
                manifest = msgspec.json.decode(data.getvalue(), type=_Manifest)
            except msgspec.DecodeError as error:
                raise Permanent(
                    f"{ref.url}: is no manifest of an inventory: {error}", reason="bad_inventory"
                ) from None
        if manifest.source_bucket != self._plan.place.bucket:
            text = f"{ref.url}: is the inventory of {manifest.source_bucket}, not of {self._plan.place.bucket}"
            raise Permanent(text, reason="bad_inventory")
        named = _columns(manifest) if manifest.format == "CSV" else re.findall(r"\w+", manifest.columns)
        if "key" not in named:
            raise Permanent(f"{ref.url}: names no keys: {manifest.columns[:200]}", reason="bad_inventory")
        if (self._plan.since or self._plan.until) and "last_modified_date" not in named:
            text = f"{ref.url}: has no LastModifiedDate, which --since and --until need"
            raise Permanent(text, reason="bad_inventory")
        return manifest, mark

    async def _newest(self, folder: str) -> str:
        place = self._plan.inventory
        assert place is not None
        dated = [found async for found in self._store.list_folders(place.bucket, folder) if _DATED.search(found)]
        if not dated:
            raise Permanent(
                f"{place.url}: holds no inventory (…/2026-01-31T00-00Z/manifest.json)", reason="not_found"
            )
        return f"{dated[-1]}manifest.json"

    async def _fetch(self, ref: ObjectRef, digest: str | None, into: IO[bytes], most: int | None = None) -> None:
        hasher, size = hashlib.md5(usedforsecurity=False), 0
        async with await self._store.open(ref) as opened:
            async for piece in opened.chunks():
                size += len(piece)
                if most is not None and size > most:
                    raise Permanent(f"{ref.url}: is larger than {most:,} bytes", reason="bad_inventory")
                hasher.update(piece)
                await asyncio.to_thread(into.write, piece)
        if digest is not None and hasher.hexdigest() != digest.lower():
            raise Permanent(f"{ref.url}: is not what the manifest says (MD5 differs)", reason="bad_inventory")
        into.seek(0)


def _start(position: str, mark: str) -> tuple[int, int]:
    """File and row behind a position; the start when it is a position in another manifest than the marked one."""
    of, number, row = position.split(":") if position.count(":") == 2 else ("", "", "")
    return (int(number), int(row) + 1) if of == mark else (0, 0)


def _columns(manifest: _Manifest) -> list[str]:
    return [_NAMES.get(name.strip(), name.strip()) for name in manifest.columns.split(",")]


def _rows(data: IO[bytes], manifest: _Manifest, key: str) -> Iterator[Row]:
    """The rows of a data file. Raises `Permanent` when it is damaged."""
    import pyarrow as pa

    try:
        if manifest.format == "CSV":
            yield from _csv_rows(data, _columns(manifest))
        elif manifest.format in ("Parquet", "ORC"):
            yield from _arrow_rows(data, manifest.format)
        else:
            raise Permanent(
                f"{key}: the format {manifest.format!r} of inventories is not known", reason="bad_inventory"
            )
    except (OSError, EOFError, ValueError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise Permanent(f"{key}: cannot be read: {error}", reason="bad_inventory") from error


def _csv_rows(data: IO[bytes], columns: Sequence[str]) -> Iterator[Row]:
    """Keys are encoded as in a query string here, and nowhere else in an inventory."""
    with gzip.open(data) as plain:
        lines = iter(lambda: plain.readline(MOST_LINE_BYTES), b"")
        for values in csv.reader(line.decode() for line in lines):
            row = dict(zip(columns, values, strict=True))
            yield {**row, "key": unquote_plus(row.get("key", ""), errors="strict")}


def _arrow_rows(data: IO[bytes], form: str) -> Iterator[Row]:
    wanted = set(_NAMES.values())
    if form == "Parquet":
        from pyarrow import parquet

        file = parquet.ParquetFile(data)
        batches = file.iter_batches(ROWS, columns=[name for name in file.schema_arrow.names if name in wanted])
    else:
        from pyarrow import orc

        stored = orc.ORCFile(data)
        names = [name for name in stored.schema.names if name in wanted]
        batches = (stored.read_stripe(at, columns=names) for at in range(stored.nstripes))
    for batch in batches:
        yield from batch.to_pylist()


def _false(value: Any) -> bool:
    return value in (False, None, "", "false")


def _time(value: Any) -> datetime | None:
    if value in (None, ""):
        return None
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
