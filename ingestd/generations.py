"""Which code and which lookup tables the workers have, and when they get others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ingestd import assembly
from ingestd.config.models import Root
from ingestd.errors import ConfigError, Retryable
from ingestd.telemetry import occurrences
from ingestd.workers.pool import Pool


class Generations:
    """Schemas, detections and tables in the workers. One change at a time; `on_loaded` is called after each."""

    def __init__(self, pool: Pool, on_loaded: Callable[[], Awaitable[None]]) -> None:
        self._pool = pool
        self._on_loaded = on_loaded
        self._turn = asyncio.Lock()
        self._root: Root
        self._code = ""
        self._tables: assembly.TableFiles = ()
        self._seen: assembly.TableFiles = ()

    async def start(self, root: Root) -> None:
        """Load for the first time. Raises `ConfigError` with all problems."""
        code, tables = await _look(root)
        await self._pool.start(assembly.code_spec(root))
        await self._took(root, code, tables)

    async def change(self, root: Root) -> None:
        """Load what this configuration names, unless the workers have it. Raises `ConfigError` or `Retryable`, and
        then nothing has changed."""
        async with self._turn:
            code, tables = await _look(root)
            if (code, tables) != (self._code, self._tables):
                await self._pool.reload(assembly.code_spec(root))
                await self._took(root, code, tables)
            self._root = root

    @property
    def refresh_secs(self) -> float:
        """How often to `refresh`, by the configuration in use."""
        return self._root.enrichment.refresh_secs

    async def refresh(self) -> None:
        """Load again if files of tables were replaced since, and nobody is writing them now. Code that has changed
        as well waits for a reload of the configuration, and the tables with it: it may be half written."""
        tables = await asyncio.to_thread(assembly.table_files, self._root)
        settled, self._seen = tables == self._seen, tables
        if tables == self._tables or not settled:
            return
        async with self._turn:
            code, tables = await _look(self._root)
            if code != self._code:
                return
            try:
                await self._pool.reload(assembly.code_spec(self._root))
            except (ConfigError, Retryable) as error:
                occurrences.tables_not_refreshed(error)
            else:
                await self._took(self._root, code, tables)

    async def _took(self, root: Root, code: str, tables: assembly.TableFiles) -> None:
        self._root, self._code = root, code
        self._tables = self._seen = tables
        await self._on_loaded()


async def _look(root: Root) -> tuple[str, assembly.TableFiles]:
    return await asyncio.to_thread(lambda: (assembly.fingerprint(root), assembly.table_files(root)))
