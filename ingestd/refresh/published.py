"""Data of lookup tables, fetched from where it is published into a folder of `enrichment.paths`.

The workers are given what lies in that folder whenever it changes; so all that is done here is to put each table's
file there, whole, when its object is another than last time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ingestd.detections.timetable import PublishedTable
from ingestd.enrichment.tables import SUFFIXES
from ingestd.errors import Permanent
from ingestd.model import ObjectRef
from ingestd.stores.base import OpenObject, Store
from ingestd.telemetry import occurrences

LOOK_SECS = 30.0
AGAIN_SECS = 300.0
"""After a failure, where the table's own period is longer."""
_BESIDE = ".fetched"
"""Folder within the folder: files that are on their way, and what each table's file was made from."""
_LEFT_BEHIND_SECS = 86_400.0
"""Age of a file that is not on its way any more: whoever fetched it was killed."""


class Publisher:
    """See the module. `stores` are those that may be fetched from, by their URLs' schemes."""

    def __init__(
        self,
        stores: Mapping[str, Store],
        folder: Path,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._due: dict[str, float] = {}

    async def turn(self, tables: Sequence[PublishedTable]) -> None:
        """Fetch each table that is due; one that fails is told and tried again, the others go on."""
        owners: dict[str, str] = {}
        for table in tables:
            owner = owners.setdefault(Path(table.url).name, table.url)
            now = self._clock()
            if now < self._due.get(table.name, now):
                continue
            period = 60.0 * table.period_minutes
            try:
                await self._fetch(table, owner)
            except Exception as error:  # noqa: BLE001 - one table must not hold up the others
                occurrences.table_not_fetched(table.name, table.url, error)
                period = min(period, AGAIN_SECS)
            self._due[table.name] = now + period

    async def close(self) -> None:
        """Let go of the stores. Idempotent."""
        for store in self._stores.values():
            await store.close()

    async def _fetch(self, table: PublishedTable, owner: str) -> None:
        ref, name = self._place(table)
        if owner != table.url:
            message = (
                f"{table.url}: the name {name} is that of {owner}, and one folder keeps both; rename one of them"
            )
            raise Permanent(message, reason="config")
        beside = self._folder / _BESIDE
        async with await self._stores[ref.store].open(ref) as opened:
            made_from, target = beside / f"{name}.source", self._folder / name
            if target.is_file() and made_from.is_file() and made_from.read_text() == opened.identity:
                return
            beside.mkdir(exist_ok=True)
            _clear(beside)
            # With a name of its own: another daemon may fetch the same table into the same folder.
            partial = beside / f"{name}.{secrets.token_hex(8)}.partial"
            try:
                with partial.open("xb") as file:
                    size = await self._copy(opened, file)
                await asyncio.to_thread(partial.replace, target)
            finally:
                partial.unlink(missing_ok=True)
            made_from.write_text(opened.identity)
        occurrences.table_fetched(table.name, table.url, size)

    def _place(self, table: PublishedTable) -> tuple[ObjectRef, str]:
        scheme, _, rest = table.url.partition("://")
        bucket, _, key = rest.partition("/")
        name = Path(key).name
        if scheme not in self._stores:
            raise Permanent(f"{table.url}: the source of enrichment.fetch_with reads no {scheme}://", reason="config")
        if not name.endswith(SUFFIXES) or name.startswith("."):
            raise Permanent(f"{table.url}: no table ends like this; known are {', '.join(SUFFIXES)}", reason="config")
        return ObjectRef(store=scheme, bucket=bucket, key=key), name

    async def _copy(self, opened: OpenObject, file: BinaryIO) -> int:
        size = 0
        async for piece in opened.chunks():
            size += len(piece)
            if size > self._max_bytes:
                message = f"{opened.ref.url}: larger than enrichment.max_bytes ({self._max_bytes:,})"
                raise Permanent(message, reason="too_large")
            await asyncio.to_thread(file.write, piece)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
        return size


def _clear(beside: Path) -> None:
    """Remove what was on its way when a daemon was killed."""
    for partial in beside.glob("*.partial"):
        with suppress(FileNotFoundError):
            if partial.stat().st_mtime < time.time() - _LEFT_BEHIND_SECS:
                partial.unlink()
