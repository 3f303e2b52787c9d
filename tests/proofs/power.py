"""Power cuts: a preloaded file layer notes what was synced, and `cut` leaves nothing else. See `power.c`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("power.c")
STATS_AT_ONCE = 500
"""How many files one process is asked of: a lake has thousands, and a command line has a limit."""


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
        self._rebuild(_keys([self.root])[0], rebuilt, notes)
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
        entries = [line.split(" ", 2) for line in note.read_text().splitlines()]
        for kind, entry, name in entries:
            target, content = folder / name, self._durable / f"{entry}.f"
            if kind == "d":
                target.mkdir()
                self._rebuild(entry, target, notes)
            elif content.exists():
                shutil.copyfile(content, target)
            else:
                target.touch()
        keys = _keys([folder, *(folder / name for _, _, name in entries)])
        for (kind, entry, _), key in zip(entries, keys[1:], strict=True):
            if kind == "f" and (content := self._durable / f"{entry}.f").exists():
                shutil.copyfile(content, notes / f"{key}.f")
        lines = [f"{kind} {key} {name}\n" for (kind, _, name), key in zip(entries, keys[1:], strict=True)]
        (notes / f"{keys[0]}.d").write_text("".join(lines))


def _keys(paths: list[Path]) -> list[str]:
    """Inode and time of birth of each, as `power.c` writes them."""
    answers = []
    for start in range(0, len(paths), STATS_AT_ONCE):
        some = map(str, paths[start : start + STATS_AT_ONCE])
        command = ["stat", "-c", "%i %.9W", "--", *some]
        answers += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [_key(answer) for answer in answers]


def _key(answer: str) -> str:
    inode, born = answer.split()
    seconds, _, nanoseconds = born.partition(".")
    return f"{inode}-{seconds}-{int(nanoseconds or 0)}"
