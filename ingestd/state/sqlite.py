"""The state in one SQLite file, which several daemons on one host may share.

Two threads of its own, each with a connection: one writes, one reads. Calls that wait while a commit is on its
way to the disk share the next one, so that the price of a full synchronous commit is paid once for all of them.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from ingestd.errors import Retryable
from ingestd.state.base import Row, State, Transaction
from ingestd.state.sqlite_file import checkpoint, connect, explained, open_database

T = TypeVar("T")

GROUP_CALLS = 512
GROUP_SECS = 0.05
"""A commit waits for no more calls than this, nor for longer."""
CHECKPOINT_ROWS = 5_000
CHECKPOINT_COMMITS = 250
"""The write-ahead log is moved into the database after so many changed rows or commits of this process."""


class _SqliteTransaction(Transaction):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Row]:
        return self._connection.execute(sql, params or {}).fetchall()

    def executemany(self, sql: str, params: Iterable[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, params)


class _Call:
    """One function that waits for its transaction, and then its outcome."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[Transaction], Any]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        if self.future.done():
            return  # its caller was cancelled
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _GroupLost(Exception):
    """SQLite rolled the whole transaction back."""


class _Lane:
    """A thread with a connection, which runs waiting calls in groups."""

    def __init__(self, connection: sqlite3.Connection, name: str, *, writes: bool) -> None:
        self._connection = connection
        self._transaction = _SqliteTransaction(connection)
        self._name = name
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._writes = writes
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._commits = 0
        self._rows = 0
        self._thread = threading.Thread(target=self._run, name=f"state-{self._begin.lower()}", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Transaction], T]) -> T:
        call = _Call(work)
        with self._lock:
            if self._closed:
                raise Retryable(f"state {self._name}: closed")
            self._waiting.put(call)
        result: T = await call.future
        return result

    async def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread ---

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if group:
                try:
                    self._run_group(group)
                except sqlite3.Error as error:
                    last = True
                    group += self._give_up(group, error)
                _settle(group)
                if not last:
                    self._checkpoint_when_due()
        self._connection.close()

    def _give_up(self, group: list[_Call], error: sqlite3.Error) -> list[_Call]:
        """The connection cannot even roll back: take no more calls. Answers those that were still waiting, who fail
        as the group does; an open transaction ends with the connection."""
        waiting: list[_Call] = []
        with self._lock:
            self._closed = True
            while not self._waiting.empty():
                call = self._waiting.get_nowait()
                if call is not None:
                    waiting.append(call)
        failure = Retryable(f"state {self._name}: the connection is lost ({error}); restart ingestd")
        for call in [*group, *waiting]:
            call.error = failure
        return waiting

    def _next_group(self) -> tuple[list[_Call], bool]:
        """The calls waiting now (at least one), and whether they are the last."""
        group: list[_Call] = []
        call = self._waiting.get()
        while call is not None:
            group.append(call)
            if len(group) >= GROUP_CALLS:
                return group, False
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _run_group(self, group: list[_Call]) -> None:
        """Run the calls; what GROUP_SECS leave over goes into further transactions."""
        left = group
        while left:
            started = left
            try:
                self._connection.execute(self._begin)
                left = self._run_calls(started)
                self._connection.execute("COMMIT")
            except (sqlite3.Error, _GroupLost) as error:
                left = []
                self._fail(started, error)

    def _run_calls(self, calls: list[_Call]) -> list[_Call]:
        deadline = time.monotonic() + GROUP_SECS
        for position, call in enumerate(calls):
            if position and time.monotonic() > deadline:
                return calls[position:]
            if not call.future.cancelled():
                self._run_call(call)
        return []

    def _run_call(self, call: _Call) -> None:
        execute = self._connection.execute
        execute("SAVEPOINT call")
        try:
            call.result = call.work(self._transaction)
        except Exception as error:
            # Whatever it is, it belongs to the caller of `transact`.
            if not self._connection.in_transaction:
                raise _GroupLost from error
            execute("ROLLBACK TO call")
            call.error = self._explained(error)
        execute("RELEASE call")

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error):
            return explained(error, self._name) or error
        return error

    def _fail(self, calls: list[_Call], error: Exception) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        cause = error.__cause__ if isinstance(error, _GroupLost) else error
        for call in calls:
            call.error = self._explained(cause) if isinstance(cause, Exception) else error

    def _checkpoint_when_due(self) -> None:
        self._commits += 1
        rows = self._connection.total_changes
        if not self._writes or (self._commits < CHECKPOINT_COMMITS and rows - self._rows < CHECKPOINT_ROWS):
            return
        self._commits, self._rows = 0, rows
        try:
            checkpoint(self._connection)
        except sqlite3.Error:
            # Nothing is lost, the log only grows: a later checkpoint does it, a full disk shows in the commits.
            return


def _settle(group: list[_Call]) -> None:
    """Hand the outcomes to the callers, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Call]] = {}
    for call in group:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, calls in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_here, calls)
        except RuntimeError:
            continue  # that loop is closed: nobody waits


def _settle_here(calls: list[_Call]) -> None:
    for call in calls:
        call.settle()


class SqliteState(State):
    """See the module and `State`. A call that is cancelled may still be committed."""

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection | None, name: str) -> None:
        self._writer = _Lane(writer, name, writes=True)
        self._reader = _Lane(reader, name, writes=False) if reader else self._writer

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open or create the database (blocks for up to some seconds when another process holds it).

        Raises `ConfigError` when the path is not a state of this version, `Retryable` when it is locked.
        """
        path = Path(path)
        writer = open_database(path)
        reader = connect(str(path))
        reader.execute("PRAGMA query_only = ON")
        return cls(writer, reader, str(path))

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """See `State`."""
        return await self._writer.run(work)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """See `State`."""
        return await self._reader.run(work)

    async def close(self) -> None:
        """See `State`."""
        await self._reader.close()
        await self._writer.close()
