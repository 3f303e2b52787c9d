"""Who changed a file last, and in which commit, where a folder of detections lies in a git repository."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

MAX_SECS = 20.0
"""For the history of one folder: what git has not told by then stays unknown."""
_COMMIT = b"\x01"
_FIELDS = "%x01%H%x02%ct%x02%an <%ae>"
"""The author's name, which may be anything but a line's end, comes last."""
_READ_BYTES = 1 << 16


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The last commit that touched a file."""

    commit: str
    """Its full hash; with `-dirty` after it when the file was changed since."""
    author: str
    committed_at: float


def last_changes(files: Collection[Path]) -> dict[Path, Change]:
    """The last change of each file that git knows of. Nothing for files outside of repositories, without git, or
    where git refuses."""
    by_folder: dict[Path, set[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, set()).add(file)
    roots: dict[Path, set[Path]] = {}
    for folder, members in by_folder.items():
        root = _root(folder)
        if root is not None:
            roots.setdefault(root, set()).update(members)
    found: dict[Path, Change] = {}
    for root, members in roots.items():
        found.update(_of_repository(root, members))
    return found


def latest(changes: dict[Path, Change], files: Collection[Path | None]) -> Change | None:
    """The newest among the changes of these files; `-dirty` if any of them is."""
    known = [changes[file] for file in files if file in changes]
    if not known:
        return None
    newest = max(known, key=lambda change: change.committed_at)
    if any(change.commit.endswith("-dirty") for change in known) and not newest.commit.endswith("-dirty"):
        return msgspec.structs.replace(newest, commit=f"{newest.commit}-dirty")
    return newest


def _root(folder: Path) -> Path | None:
    """The top of the work tree around a folder."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _of_repository(root: Path, files: set[Path]) -> dict[Path, Change]:
    wanted = {os.fsencode(file.relative_to(root)): file for file in files}
    found: dict[Path, Change] = {}
    below = ("--", os.path.commonpath([file.parent for file in files]))
    changed = {
        line for line in _lines(root, "diff", "--name-only", "--no-ext-diff", "HEAD", *below) if line in wanted
    }
    author = commit = ""
    at = 0.0
    for line in _lines(root, "log", f"--format={_FIELDS}", "--name-only", "--no-renames", *below):
        if line.startswith(_COMMIT):
            commit, when, author = line[1:].decode(errors="replace").split("\x02", 2)
            at = float(when)
        elif line in wanted:
            dirty = "-dirty" if line in changed else ""
            found[wanted.pop(line)] = Change(commit=commit + dirty, author=author, committed_at=at)
            if not wanted:
                break
    return found


def _lines(root: Path, *arguments: str) -> Iterator[bytes]:
    """What git prints, line by line, for as long as it may take; nothing when there is no git."""
    # A repository's own settings may name programs to run: none is.
    settings = (f"safe.directory={root}", "core.quotepath=off", "core.fsmonitor=false")
    command = ["git", *(word for one in settings for word in ("-c", one)), "-C", str(root), "--no-pager"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed words and the repository's own path
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        return
    assert process.stdout is not None
    try:
        yield from _until(process.stdout.fileno(), time.monotonic() + MAX_SECS)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _until(descriptor: int, deadline: float) -> Iterator[bytes]:
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
    if rest:
        yield rest
