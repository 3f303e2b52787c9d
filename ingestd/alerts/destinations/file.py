"""Alerts as JSON lines in a file: each exactly once, durable before it counts as sent.

Under a lock that all daemons take, the alert's id is looked for, a line torn by a crash is removed, the new line
is appended and synced. The file may be renamed or truncated by log rotation; several daemons may share it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import Field

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.text import document
from ingestd.config.base import ConfigPath
from ingestd.config.models import DestinationConfig
from ingestd.errors import Permanent, Retryable
from ingestd.model import Alert, Check

MAX_REMEMBERED = 200_000
"""Ids looked for: those of the newest lines. A repeat comes soon after a crash, not so many alerts later."""
MAX_SCANNED_BYTES = 512 * 1024 * 1024
"""How much of the end of a file is read for them at the first use."""
_START = b'{"alert_id":"'
_ID_CHARS = 32
_BLOCK = 1024 * 1024
_LONGEST_LINE = 8 * 1024 * 1024
_LOCK_PAUSE_SECS = 0.01


class Config(DestinationConfig):
    """Alerts as JSON lines in a file."""

    path: ConfigPath
    """The file; it is created, its folder must exist."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 32
    """Alerts on the way at once: those that wait together share one sync."""
    per_minute: Annotated[int, Field(ge=1)] = 600_000
    """Alerts written per minute at most; the others wait."""


class FileDestination(Destination):
    """See the module."""

    exactly_once = True

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config
        self._log = _Log(config.path, config.timeout_secs)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def send(self, alert: Alert) -> str:
        """See `Destination`. Alerts that wait at the same time are written and synced together."""
        line = msgspec.json.encode(document(alert)) + b"\n"
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written
        return str(self._config.path)

    async def check(self) -> list[Check]:
        """See `Destination`."""
        what = f"destination {self.name}: {self._config.path}"
        try:
            await asyncio.to_thread(self._log.append, [])
        except (Permanent, Retryable) as error:
            hint = "write permission on the file, or on its folder to create it"
            return [Check(what=what, ok=False, detail=str(error), missing_permission=hint)]
        return [Check(what=what, ok=True)]

    async def close(self) -> None:
        """See `Destination`."""
        if self._writer is not None:
            await asyncio.wait([self._writer])
        await asyncio.to_thread(self._log.close)

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                await asyncio.to_thread(self._log.append, [line for line, _ in group])
            except (Permanent, Retryable) as caught:
                error = caught
            for _, written in group:
                if written.done():
                    continue  # its sender was cancelled; a repeat will find the line
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)


class _Log:
    """The file, in the thread of whoever writes."""

    def __init__(self, path: Path, timeout_secs: float) -> None:
        self._path = path
        self._one_call = threading.Lock()
        self._timeout_secs = timeout_secs
        self._descriptor = -1
        self._inode = (0, 0)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._read_to = 0
        """Ids of all lines before this offset are known."""

    def append(self, lines: list[bytes]) -> None:
        """Append the lines whose alert is not there yet; they are durable when this returns."""
        with self._one_call:
            try:
                self._append(lines)
            except OSError as error:
                raise Retryable(f"{self._path} cannot be written: {error.strerror}") from None

    def _append(self, lines: list[bytes]) -> None:
        self._open_current()
        try:
            end = self._repair_and_read()
            fresh = {_id_of(line): line for line in lines if _id_of(line) not in self._known}
            if fresh:
                self._write(b"".join(fresh.values()), end)
                for line in fresh.values():
                    self._remember(line)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- opening, locking ---

    def _open_current(self) -> None:
        """Open and lock the file that the path names now: rotation may have put another in its place."""
        deadline = time.monotonic() + self._timeout_secs
        while True:
            if self._descriptor < 0:
                self._open()
            self._lock(deadline)
            try:
                found = os.stat(self._path)
                if (found.st_dev, found.st_ino) == self._inode:
                    return
            except FileNotFoundError:
                pass  # rotated away: a new one is created
            self.close()

    def _open(self) -> None:
        # O_NONBLOCK: a pipe without a reader must not hang us
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise Permanent(f"{self._path} is not a regular file", reason="not_a_file")
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._descriptor = descriptor
        self._inode = (found.st_dev, found.st_ino)
        self._read_to = max(0, found.st_size - MAX_SCANNED_BYTES)

    def _lock(self, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Retryable(f"{self._path} stays locked by another process") from None
                time.sleep(_LOCK_PAUSE_SECS)
            else:
                return

    # --- reading ---

    def _repair_and_read(self) -> int:
        """Learn the ids that other processes appended and make the file end with a whole line; its end."""
        end = os.fstat(self._descriptor).st_size
        if end < self._read_to:
            self._read_to = 0  # truncated by rotation; ids of lines that were there stay known
        rest = b""
        while (at := self._read_to + len(rest)) < end:
            block = os.pread(self._descriptor, min(_BLOCK, end - at), at)
            if not block:
                raise Retryable(f"{self._path} was truncated while it was read")
            whole, newline, rest = (rest + block).rpartition(b"\n")
            for line in whole.split(b"\n"):
                self._remember(line)
            self._read_to += len(whole) + len(newline)
            if len(rest) > _LONGEST_LINE:
                self._read_to, rest = self._read_to + len(rest), b""  # no line of ours
        ended = end == 0 or os.pread(self._descriptor, 1, end - 1) == b"\n"
        return end if ended else self._mend(rest, end)

    def _mend(self, rest: bytes, end: int) -> int:
        """Deal with a last line that does not end: ours is cut off, as its alert will come again; anybody else's
        is ended."""
        if rest and (rest.startswith(_START) or _START.startswith(rest)):
            os.ftruncate(self._descriptor, self._read_to)
            return self._read_to
        os.write(self._descriptor, b"\n")
        self._read_to = end + 1
        return end + 1

    def _remember(self, line: bytes) -> None:
        if line.startswith(_START):
            self._known[_id_of(line)] = None
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)

    # --- writing ---

    def _write(self, data: bytes, end: int) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)  # a full disk leaves half a line
            raise
        self._read_to = end + len(data)


def _id_of(line: bytes) -> bytes:
    return line[len(_START) : len(_START) + _ID_CHARS]


def build(name: str, config: Config) -> FileDestination:
    """See `base`."""
    return FileDestination(name, config)
