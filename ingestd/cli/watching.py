"""A command that runs again whenever a file changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingestd.cli import output

EVERY_SECS = 0.5
_SUFFIXES = (".py", ".yml", ".yaml", ".csv", ".json", ".jsonl")
_INTERRUPTED = 130

Seen = dict[str, tuple[int, int]]


def run_again(paths: Sequence[Path]) -> int:
    """Run this very command without `--watch`, each time in a process of its own, until the user ends it; the exit
    code of the last run."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--watch"]
    environment = {**os.environ, "INGESTD_WATCH": "false"}  # which wins over a settings file
    code = _INTERRUPTED
    try:
        while True:
            before = look(paths)
            command = [sys.executable, "-m", "ingestd", *arguments]
            code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - ourselves
            output.note(f"{time.strftime('%H:%M:%S')} waiting for a change; Ctrl-C ends")
            while (now := look(paths)) == before:
                time.sleep(EVERY_SECS)
            for file in changed(before, now):
                output.note(f"changed: {os.path.relpath(file)}")
    except KeyboardInterrupt:
        return code


def look(paths: Sequence[Path]) -> Seen:
    """Time and size of each file that detections may consist of."""
    seen: Seen = {}
    for path in paths:
        for file in _files(path):
            try:
                status = os.stat(file)
            except OSError:
                continue  # gone while we look, as an editor's temporary files are
            seen[file] = (status.st_mtime_ns, status.st_size)
    return seen


def changed(before: Seen, now: Seen) -> list[str]:
    """Files that are new, gone or different."""
    return sorted(file for file in before.keys() | now.keys() if before.get(file) != now.get(file))


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
        path = path.parent  # of one file, its neighbours: code lies beside its YAML
    for where, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (os.path.join(where, name) for name in files if name.endswith(_SUFFIXES))
