"""Power cuts: a preloaded file layer notes what was synced, and `cut` leaves nothing else. See `power.c`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("power.c")


class Power:
    """The supply of one folder tree. Processes started with `environment` lose what they did not sync at a `cut`."""

    def __init__(self, root: Path, scratch: Path) -> None:
        """`root` is where the processes write; its own entry in its parent is durable from the start."""
        self.root = root.resolve()
        self._durable = scratch / "durable"
        self._durable.mkdir(parents=True)
        self._library = scratch / "power.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a process under this supply is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "POWER_ROOT": str(self.root),
            "POWER_DURABLE": str(self._durable),
        }

    def cut(self) -> None:
        """Rebuild the tree from what was synced. Every process that writes to it must be dead."""
        rebuilt = self.root.with_name(self.root.name + ".rebuilt")
        renamed: dict[str, str] = {}
        rebuilt.mkdir()
        self._rebuild(_key(self.root), rebuilt, renamed)
        renamed[_key(self.root)] = _key(rebuilt)
        shutil.rmtree(self.root)
        rebuilt.rename(self.root)
        self._rename_notes(renamed)

    def _rename_notes(self, renamed: dict[str, str]) -> None:
        """The notes of what is still there, under the inodes that it has now; the others are dropped."""
        notes = {note: note.read_bytes() for note in self._durable.iterdir() if note.stem in renamed}
        for note in self._durable.iterdir():
            note.unlink()
        for note, content in notes.items():
            if note.suffix == ".d":
                lines = (line.split(" ", 2) for line in content.decode().splitlines())
                entries = [f"{kind} {renamed[key]} {name}\n" for kind, key, name in lines]
                content = "".join(entries).encode()
            (self._durable / f"{renamed[note.stem]}{note.suffix}").write_bytes(content)

    def _rebuild(self, key: str, folder: Path, renamed: dict[str, str]) -> None:
        note = self._durable / f"{key}.d"
        if not note.exists():
            return  # never synced: it is there (its parent says so) and empty
        for line in note.read_text().splitlines():
            kind, entry, name = line.split(" ", 2)
            target = folder / name
            if kind == "d":
                target.mkdir()
                self._rebuild(entry, target, renamed)
            elif (content := self._durable / f"{entry}.f").exists():
                shutil.copyfile(content, target)
            else:
                target.touch()
            renamed[entry] = _key(target)


def _key(path: Path) -> str:
    """Inode and time of birth, as `power.c` writes them."""
    answer = subprocess.run(["stat", "-c", "%i %.9W", str(path)], check=True, capture_output=True, text=True).stdout
    inode, born = answer.split()
    seconds, _, nanoseconds = born.partition(".")
    return f"{inode}-{seconds}-{int(nanoseconds or 0)}"
