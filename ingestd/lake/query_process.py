"""Has a scheduled query run by a process of its own, within its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Final

import msgspec

from ingestd.errors import Permanent, Retryable
from ingestd.lake.query_program import EXIT_FAILED, Order

_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONHASHSEED", "PYTHONUTF8", "VIRTUAL_ENV")
_MOST_BYTES: Final = 96 << 20
"""Of an answer; the process keeps to less."""
_MOST_DETAIL: Final = 2_000


class Lake(msgspec.Struct, frozen=True, kw_only=True):
    """What every query needs to know of the configuration."""

    url: str
    schema_paths: tuple[str, ...] = ()
    builtin_schemas: bool = True

    def order(self, sql: str, now: float) -> Order:
        """A query over this lake."""
        return Order(
            sql=sql, lake=self.url, now=now, schema_paths=self.schema_paths, builtin_schemas=self.builtin_schemas
        )


async def ask(order: Order, timeout_secs: float) -> bytes:
    """The rows as records of a result, compressed; empty when there are none.

    Raises `Permanent` (reason `query_failed`, `query_timeout` or `query_died`) with what the author of the query
    should know, or `Retryable` when no process can be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ingestd.lake.query_program"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=1 << 20,
        )
    except OSError as error:
        raise Retryable(f"no process for a query: {error}") from error
    try:
        async with asyncio.timeout(timeout_secs):
            return await _answer(process, order)
    except TimeoutError:
        raise Permanent(f"the query took more than {timeout_secs:g} s", reason="query_timeout") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _answer(process: asyncio.subprocess.Process, order: Order) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    with contextlib.suppress(ConnectionError):  # it is dead, as its exit status tells
        await process.stdin.drain()
    body, detail = await asyncio.gather(_read(process.stdout, _MOST_BYTES), _read(process.stderr, _MOST_DETAIL))
    status = await process.wait()
    said = detail.decode("utf-8", "replace").strip()
    if status == EXIT_FAILED:
        raise Permanent(said or "the query failed", reason="query_failed")
    if status != 0:
        end = said.splitlines()[-1] if said else ""
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        raise Permanent(f"the process that ran the query ended ({how}) {end}".strip(), reason="query_died")
    return body


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """The stream to its end; of what is beyond `most`, nothing is kept."""
    kept = bytearray()
    while piece := await stream.read(1 << 16):
        if len(kept) < most:
            kept += piece[: most - len(kept)]
    return bytes(kept)
