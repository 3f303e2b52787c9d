"""Reading authors' files. A folder of detections may hold anything under a name that we look for: a pipe that nobody
writes to, a link to a device without an end, a disk image."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
"""Of one file of YAML or Python."""


def read(file: Path) -> bytes:
    """The content of a regular file. OSError, whose `strerror` is for the author, for anything else, and for what is
    larger than `MAX_BYTES`. Never waits for a writer."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(file)) from None
    with open(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(file))
        text = opened.read(MAX_BYTES + 1) if found.st_size <= MAX_BYTES else b""
    if max(len(text), found.st_size) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MAX_BYTES // 1024 // 1024} MiB", str(file))
    return text


def exists(file: Path) -> bool:
    """Whether there is a regular file of this name; False too for what cannot be one's name."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False
