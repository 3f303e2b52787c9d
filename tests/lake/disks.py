"""A disk that loses what was not flushed, as a power cut does."""

from __future__ import annotations

import shutil
from pathlib import Path

from ingestd.lake.files import Disk


class ForgetfulDisk(Disk):
    """Remembers which folder entries were synced; `cut_power` takes the folder back to those.

    The content of a file counts as flushed with the file (it is written and flushed in one call); its name, a
    rename and a new folder count only when the folder they are in was synced afterwards.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: dict[Path, dict[str, bytes | None]] = {}
        """Folder → durable entries: content of a file, None for a folder."""
        self.syncs = 0

    def sync_folder(self, path: Path) -> None:
        """The entries as they are now survive."""
        super().sync_folder(path)
        self.syncs += 1
        self._durable[path] = {entry.name: None if entry.is_dir() else entry.read_bytes() for entry in path.iterdir()}

    def cut_power(self) -> None:
        """Only what is reachable through durable entries is left."""
        shutil.rmtree(self._root, ignore_errors=True)
        if self._root.name in self._durable.get(self._root.parent, {}):
            self._restore(self._root)

    def _restore(self, folder: Path) -> None:
        folder.mkdir()
        for name, content in self._durable.get(folder, {}).items():
            if content is None:
                self._restore(folder / name)
            else:
                (folder / name).write_bytes(content)
