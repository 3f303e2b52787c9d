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
        notes = self._durable.with_name(self._durable.name + ".rebuilt")
        rebuilt.mkdir()
        notes.mkdir()
        self._rebuild(_key(self.root), rebuilt, notes)
        shutil.rmtree(self.root)
        rebuilt.rename(self.root)
        shutil.rmtree(self._durable)
        notes.rename(self._durable)

    def _rebuild(self, key: str, folder: Path, notes: Path) -> None:
        """What was noted of the folder `key`, made anew in `folder`, and noted anew under the inodes it has now.

        A file that was moved is in two folders when only the new one was synced: each gets a copy with its own note.
        """
        note = self._durable / f"{key}.d"
        if not note.exists():
            return  # never synced: it is there (its parent says so) and empty
        entries = []
        for line in note.read_text().splitlines():
            kind, entry, name = line.split(" ", 2)
            target = folder / name
            if kind == "d":
                target.mkdir()
                self._rebuild(entry, target, notes)
            elif (content := self._durable / f"{entry}.f").exists():
                shutil.copyfile(content, target)
                shutil.copyfile(content, notes / f"{_key(target)}.f")
            else:
                target.touch()
            entries.append(f"{kind} {_key(target)} {name}\n")
        (notes / f"{_key(folder)}.d").write_text("".join(entries))


def _key(path: Path) -> str:
    """Inode and time of birth, as `power.c` writes them."""
    answer = subprocess.run(["stat", "-c", "%i %.9W", str(path)], check=True, capture_output=True, text=True).stdout
    inode, born = answer.split()
    seconds, _, nanoseconds = born.partition(".")
    return f"{inode}-{seconds}-{int(nanoseconds or 0)}"
