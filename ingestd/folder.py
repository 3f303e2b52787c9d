"""Local folders and files, looked at with care: what is in them, and opening only what is a plain file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ingestd.errors import AttemptFailed, Permanent, Retryable


class Signature(NamedTuple):
    """What the file system says of a file without reading it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    """Moves with permissions too, so that a file which may be read at last is looked at again."""

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Signature from a stat result."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Descriptor and status of a regular file; never waits for a pipe's writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Permanent(f"{path}: no such file", reason="not_found") from error
    except PermissionError as error:
        raise AttemptFailed(f"{path}: this user may not read it", reason="forbidden") from error
    except OSError as error:
        raise Retryable(f"{path}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Permanent(f"{path}: not a regular file", reason="not_a_file")
    return descriptor, status


def walk(
    root: str, start: str = "", on_folder: Callable[[str], None] = lambda folder: None
) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to `root`, status) of the regular files below its folder `start`, in the order of their paths as
    text (`a-b/x` before `a/x`); links are not followed.

    `on_folder` is called with each folder's relative path before it is listed.
    A folder that disappears or may not be read while walking is left out.
    """
    on_folder(start)
    levels = [(start, _last_first(os.path.join(root, start)))]
    while levels:
        folder, entries = levels[-1]
        if not entries:
            levels.pop()
            continue
        entry = entries.pop()
        path = os.path.join(folder, entry.name)
        if _is_folder(entry):
            on_folder(path)
            levels.append((path, _last_first(os.path.join(root, path))))
            continue
        try:
            if entry.is_file(follow_symlinks=False):
                yield path, entry.stat(follow_symlinks=False)
        except OSError:
            continue


def _last_first(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, the last path first; a slash follows the name of a folder in the paths below it."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name + "/" * _is_folder(entry), reverse=True)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def printable(path: str) -> str:
    """The path as valid Unicode: bytes of a name that are not UTF-8 are written as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def signature_now(root: str, key: str) -> Signature | None:
    """Signature of the file as it lies there now; None when it is gone or not a regular file."""
    try:
        status = os.stat(os.path.join(root, key), follow_symlinks=False)
    except OSError:
        return None
    return Signature.of(status) if stat.S_ISREG(status.st_mode) else None
