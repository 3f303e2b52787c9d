"""A file lock that a process holds while it lives: the kernel lets go of it the moment the process is dead."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import Self


class HeldLock:
    """A lock file of our own, held until `release` or the end of the process (children made by fork without exec
    would hold it too)."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Create a file with a new name in `folder` and lock it. The file outlasts a power cut, after which it is
        free: a file that has vanished would leave the dead process's claims until its lease is over."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for place in (folder, folder.parent):
            entries = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(entries)
            os.close(entries)
        return cls(path, descriptor)

    def release(self) -> None:
        """Remove the file and let go of the lock. Idempotent."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(path: Path) -> bool | None:
    """Whether a living process holds the lock file; None when there is no such file, which proves nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
