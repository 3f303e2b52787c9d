"""The lake's file layer: nothing counts as written before it would survive a power cut.

`LakeFiles` is what a commit needs of a place for files; `LocalFiles` is a folder of this machine. The methods block,
and are called from one thread. All may be repeated.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingestd.errors import Permanent, Retryable
from ingestd.lake.layout import STAGING, staging_folder

MAX_FOLDERS = 10_000
"""Folders remembered as durable; beyond that they are looked at again."""


class LakeFiles(ABC):
    """Files by their path relative to the lake. Raises `Retryable` when the place is full or out of reach."""

    @abstractmethod
    def write(self, path: str, data: memoryview) -> None:
        """Create or replace a file; its content is durable on return, its name after `sync`."""

    @abstractmethod
    def move(self, source: str, target: str) -> None:
        """Rename `source` to `target`; nothing to do when that was done before. Durable after `sync`.

        Raises `Permanent` (reason `lake_file_missing`) when neither exists.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make every name that `write` and `move` made durable."""

    @abstractmethod
    def staged_batches(self) -> list[str]:
        """Batches that have something in the staging folder."""

    @abstractmethod
    def discard(self, batch_id: str) -> None:
        """Remove what is staged for a batch."""


class Disk:
    """The calls of the operating system that durability rests on, apart so that a test can lose what they did not."""

    def write_file(self, path: Path, data: memoryview) -> None:
        """Write a whole file and flush it to the device."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Atomic within a file system."""
        source.replace(target)

    def make_folder(self, path: Path) -> None:
        """Create one folder; fine when it is there."""
        path.mkdir(exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Make the entries of a folder durable."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unless_gone(_: object, __: str, caught: tuple[object, BaseException, object]) -> None:
    """Another daemon may be sweeping the same folder: what is gone is what we want."""
    if not isinstance(caught[1], FileNotFoundError):
        raise caught[1]


class LocalFiles(LakeFiles):
    """A folder, which is created on first use."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root.absolute()
        self._disk = disk or Disk()
        self._unsynced: set[Path] = set()
        self._left: set[Path] = set()
        """Folders out of which files were renamed."""
        self._durable: set[Path] = set()

    def write(self, path: str, data: memoryview) -> None:
        """See `LakeFiles`."""
        target = self.root / path
        with self._retryable():
            self._make_folder(target.parent)
            self._disk.write_file(target, data)

    def move(self, source: str, target: str) -> None:
        """See `LakeFiles`."""
        old, new = self.root / source, self.root / target
        with self._retryable():
            self._make_folder(new.parent)
            if old.exists():
                self._disk.rename(old, new)
            elif not new.exists():
                raise Permanent(
                    f"{old} is gone and was not published as {new}: rows of a committed batch are missing; "
                    "restore the file from a backup of the lake and restart",
                    reason="lake_file_missing",
                )
        self._left.add(old.parent)

    def sync(self) -> None:
        """See `LakeFiles`."""
        with self._retryable():
            # A file is in its new place for good before it is gone from the old one: power may fail in between.
            for folder in (*sorted(self._unsynced), *sorted(self._left - self._unsynced)):
                if folder.is_dir():
                    self._disk.sync_folder(folder)
        self._durable = {*self._durable, *self._unsynced} if len(self._durable) < MAX_FOLDERS else set()
        self._unsynced.clear()
        self._left.clear()

    def staged_batches(self) -> list[str]:
        """See `LakeFiles`."""
        with self._retryable():
            try:
                return sorted(os.listdir(self.root / STAGING))
            except FileNotFoundError:
                return []

    def discard(self, batch_id: str) -> None:
        """See `LakeFiles`."""
        folder = self.root / staging_folder(batch_id)
        with self._retryable():
            shutil.rmtree(folder, onerror=_unless_gone)

    def _make_folder(self, folder: Path) -> None:
        """Create a folder; it is to be synced and, when it is new to us, so is all above it."""
        self._unsynced.add(folder)
        if folder in self._durable and folder.is_dir():
            return
        if folder == self.root:
            folder.mkdir(parents=True, exist_ok=True)
            self._unsynced.add(folder.parent)
            return
        self._make_folder(folder.parent)
        self._disk.make_folder(folder)

    @contextmanager
    def _retryable(self) -> Iterator[None]:
        """A full disk, a lost mount or a missing permission is mended by an operator, not by dropping data."""
        try:
            yield
        except OSError as error:
            where = error.filename or self.root
            raise Retryable(f"the lake cannot be written: {error.strerror or error} ({where})") from error
