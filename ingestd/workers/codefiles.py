"""The files that a generation of code was loaded from: whether they are still what they were."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ingestd.errors import ConfigError, Problem
from ingestd.workers.settings import CodeSpec

_MOST_NAMED = 5


class CodeFiles:
    """Digests of the files below a spec's paths, taken when this is made. Blocks: use it in a thread."""

    def __init__(self, spec: CodeSpec) -> None:
        self._spec = spec
        self._digests = _digests(spec)

    def check(self) -> None:
        """Raises ConfigError, naming the files, when any was changed, added or removed since."""
        now = _digests(self._spec)
        changed = sorted(
            file for file in now.keys() | self._digests.keys() if now.get(file) != self._digests.get(file)
        )
        if changed:
            problem = "changed since the workers loaded it, and the process that they are forked from has died"
            hint = "reload, or change it back: until then no worker is started"
            raise ConfigError([Problem(problem, file=file, hint=hint) for file in changed[:_MOST_NAMED]])


def _digests(spec: CodeSpec) -> dict[str, bytes]:
    paths = [Path(path) for path in (*spec.schema_paths, *spec.detections.get("paths", ()))]
    return {str(file): _digest(file) for path in paths for file in _files(path)}


def _files(path: Path) -> Iterator[Path]:
    """What a loader may look at: not what editors, git and Python itself keep beside it."""
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _digest(file: Path) -> bytes:
    try:
        if not file.is_file():
            return b"no file"  # a pipe would have to be waited for
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return b"not readable"
