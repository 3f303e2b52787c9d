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
