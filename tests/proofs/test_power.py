"""The power supply of the proofs does what it says: what was not synced is gone, what was synced stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proofs.power import Power

WRITE = """
import os, sys
root = sys.argv[1]
def sync(path):
    fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)
os.mkdir(f"{root}/kept"); os.mkdir(f"{root}/forgotten")
for name, synced in (("whole", True), ("empty", False)):
    with open(f"{root}/kept/{name}", "w") as file:
        file.write("content"); file.flush()
        if synced: os.fsync(file.fileno())
open(f"{root}/kept/before", "w").write("moved"); sync(f"{root}/kept/before")
sync(f"{root}/kept"); os.rename(f"{root}/kept/before", f"{root}/kept/after")
os.rmdir(f"{root}/forgotten"); sync(root); os.mkdir(f"{root}/late")
with open(f"{root}/kept/whole", "a") as file: file.write(" and more")
"""


@pytest.fixture
def power(tmp_path: Path) -> Power:
    """A supply for an empty folder."""
    (tmp_path / "root").mkdir()
    return Power(tmp_path / "root", tmp_path / "scratch")


def _run(power: Power, code: str) -> None:
    subprocess.run([sys.executable, "-c", code, str(power.root)], check=True, env={**os.environ, **power.environment})


def _tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() if path.is_file() else "folder" for path in root.rglob("*")}


def test_only_what_was_synced_is_there_after_a_cut(power: Power) -> None:
    """Content by fsync of the file; creation, renaming and removal by fsync of the folder."""
    _run(power, WRITE)
    power.cut()
    assert _tree(power.root) == {
        "kept": "folder",
        "kept/whole": "content",
        "kept/empty": "",
        "kept/before": "moved",
    }


def test_what_survived_one_cut_survives_the_next(power: Power) -> None:
    """The notes stay right although the files have other inodes now."""
    _run(power, WRITE)
    power.cut()
    first = _tree(power.root)
    power.cut()
    assert _tree(power.root) == first
    assert first["kept/whole"] == "content"


MOVED = """
import os, sys
root = sys.argv[1]
def sync(path):
    fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)
os.mkdir(f"{root}/from"); os.mkdir(f"{root}/to"); sync(root)
with open(f"{root}/from/file", "w") as file:
    file.write("content"); file.flush(); os.fsync(file.fileno())
sync(f"{root}/from"); os.rename(f"{root}/from/file", f"{root}/to/file"); sync(f"{root}/to")
"""


def test_a_file_that_moved_is_in_both_folders_whole_when_only_the_new_one_was_synced(power: Power) -> None:
    """At this cut and at the next: each copy has a note of its own."""
    _run(power, MOVED)
    both = {"from": "folder", "to": "folder", "from/file": "content", "to/file": "content"}
    power.cut()
    assert _tree(power.root) == both
    power.cut()
    assert _tree(power.root) == both


MANY_AT_ONCE = """
import os, sys, threading
root = sys.argv[1]
def publish(name):
    open(f"{root}/{name}", "w").close()
    fd = os.open(root, os.O_RDONLY); os.fsync(fd); os.close(fd)
for start in range(0, 400, 8):
    threads = [threading.Thread(target=publish, args=(start + n,)) for n in range(8)]
    [thread.start() for thread in threads]; [thread.join() for thread in threads]
    held = {line.split(" ", 2)[2] for note in os.scandir(os.environ["POWER_DURABLE"]) if note.name.endswith(".d")
            for line in open(note.path).read().splitlines()}
    missing = {str(n) for n in range(start + 8)} - held
    assert not missing, missing
"""


def test_an_entry_that_was_synced_is_kept_whoever_else_syncs_the_folder(power: Power) -> None:
    """Eight threads at once: the one that listed the folder first does not have the last word."""
    _run(power, MANY_AT_ONCE)


LOCKED = """
import fcntl, os, sys
file = open(f"{sys.argv[1]}/file", "w+b")
fcntl.lockf(file, fcntl.LOCK_EX); os.fsync(file.fileno())
child = os.fork()
if child == 0:
    try:
        fcntl.lockf(open(f"{sys.argv[1]}/file", "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os._exit(0)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_keeps_its_locks_on_a_file_that_it_syncs(power: Power) -> None:
    """SQLite rests on record locks, and to close any descriptor of a file drops all that the process has on it."""
    _run(power, LOCKED)
