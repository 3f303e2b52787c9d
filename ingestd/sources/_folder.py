"""What a folder tells of its files: a walk for what is there, inotify for what comes.

`FolderWatch` yields *candidates* (paths relative to the root), each once per change: a file that was renamed
in or closed after writing at once, one found otherwise when it has been unchanged for `settle_secs`.
It knows nothing of what was read before; the source decides that.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from asyncinotify import Inotify, Mask

from ingestd.folder import walk
from ingestd.telemetry import occurrences

WALK_STEP = 500
"""Files looked at per step of the walk, so that the loop goes on between."""
WATCH_MASK = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.MODIFY
    | Mask.CREATE
    | Mask.ATTRIB
    | Mask.DELETE_SELF
    | Mask.ONLYDIR
    | Mask.DONT_FOLLOW
)


@dataclass
class _Walk:
    """A walk under way."""

    files: Iterator[tuple[str, os.stat_result]]
    is_full: bool
    found: int = 0


class FolderWatch:
    """Candidates of one folder tree (`root` is its real path). `start` once, `take` as often as wanted,
    then `close`. `arrived` is set when something may be ready that was not before."""

    def __init__(
        self,
        root: str,
        *,
        settle_secs: float,
        rescan_secs: float,
        wanted: Callable[[str], bool],
        on_degraded: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._settle_secs = settle_secs
        self._rescan_secs = rescan_secs
        self._wanted = wanted
        self._on_degraded = on_degraded
        self._clock = clock
        self._ready: dict[str, None] = {}
        self._settling: dict[str, float] = {}
        self._settle_heap: list[tuple[float, str]] = []
        self._walks: deque[_Walk] = deque()
        self._next_walk = 0.0
        self._inotify: Inotify | None = None
        self._listener: asyncio.Task[None] | None = None
        self.arrived = asyncio.Event()
        self.full_walks = 0
        """Walks through the whole tree that came to their end and found something."""

    def start(self) -> None:
        """Begin to listen, then to walk: nothing that comes between the two is missed."""
        self._loop = asyncio.get_running_loop()
        try:
            self._inotify = Inotify()
            self._listener = self._loop.create_task(self._listen(self._inotify))
        except OSError as error:
            self._without_inotify(error.strerror)
        self._walk_from("")

    def look_again(self) -> None:
        """Walk all of it, and watch what is not watched: the folder is another one now."""
        self._walk_from("")

    def _walk_from(self, folder: str) -> None:
        """Queue a walk; each folder is watched before it is listed, so that nothing falls between."""
        self._walks.append(_Walk(walk(self._root, folder, self._watch_folder), is_full=not folder))

    def _without_inotify(self, reason: str | None) -> None:
        """Fall back to walking the tree every `rescan_secs`."""
        every = f"every {self._rescan_secs:g} s"
        self._on_degraded(f"{self._root}: cannot be watched ({reason}); it is walked {every} instead")
        self._next_walk = self._clock() + self._rescan_secs

    def _stop_watching(self, inotify: Inotify, reason: str | None) -> None:
        """Let go of inotify, with its reader, and walk instead. Called from the loop."""
        if self._listener is None:
            return  # closed meanwhile
        self._listener.cancel()
        self._inotify = None
        self._without_inotify(reason)
        self._walk_from("")
        self.arrived.set()

    async def take(self, limit: int) -> list[str]:
        """Up to `limit` candidates that are ready now. Walks on only while fewer are known."""
        now = self._clock()
        if not self._walks and now >= self._next_walk:
            self._walk_from("")
        while self._walks and len(self._ready) < limit:
            await self._walk_on()
        self._settle(self._clock())
        taken = list(islice(self._ready, limit))
        for key in taken:
            del self._ready[key]
        return taken

    def give_back(self, key: str) -> None:
        """Make a candidate ready again."""
        self._ready[key] = None
        self.arrived.set()

    def seconds_to_next(self) -> float:
        """Seconds until a file settles or the next walk is due; 0 while a walk is under way."""
        if self._walks or self._ready:
            return 0.0
        due = min(self._settle_heap[0][0] if self._settle_heap else float("inf"), self._next_walk)
        return max(0.0, due - self._clock())

    @property
    def busy(self) -> bool:
        """Whether a walk is under way or candidates are ready."""
        return bool(self._walks or self._ready)

    @property
    def ready(self) -> int:
        """Candidates known to be ready."""
        return len(self._ready)

    @property
    def settling(self) -> int:
        """Files that are still being written, as far as can be seen."""
        return len(self._settling)

    async def _walk_on(self) -> None:
        walking = self._walks[0]
        found = await asyncio.to_thread(lambda: list(islice(walking.files, WALK_STEP)))
        walking.found += len(found)
        if not found:
            self._walks.popleft()
            self._next_walk = self._clock() + self._rescan_secs
            self.full_walks += walking.is_full and walking.found > 0
        for key, status in found:
            if self._wanted(key):
                self._found(key, status)

    def _found(self, key: str, status: os.stat_result) -> None:
        now = self._clock()
        # a modification time in the future was set by hand, and says nothing of when that was
        changed = status.st_ctime if status.st_mtime > now else max(status.st_mtime, status.st_ctime)
        unchanged_since = min(changed, now)
        if now - unchanged_since >= self._settle_secs:
            if key not in self._settling:
                self._ready[key] = None
        else:
            self._unsettle(key, unchanged_since + self._settle_secs)

    def _unsettle(self, key: str, due: float) -> None:
        self._ready.pop(key, None)
        if key not in self._settling:
            heapq.heappush(self._settle_heap, (due, key))
        self._settling[key] = due

    def _settle(self, now: float) -> None:
        """Move what has been left alone long enough to the ready ones."""
        while self._settle_heap and self._settle_heap[0][0] <= now:
            _, key = heapq.heappop(self._settle_heap)
            due = self._settling.get(key)
            if due is None:
                continue
            if due > now:  # changed again since it was put into the heap
                heapq.heappush(self._settle_heap, (due, key))
            else:
                del self._settling[key]
                self._ready[key] = None

    # --- inotify ---

    def _watch_folder(self, folder: str) -> None:
        """Watch one folder. Called from the walk's thread."""
        inotify = self._inotify
        if inotify is None:
            return
        path = os.path.join(self._root, folder)
        try:
            # a folder that was moved keeps the watch, and its old path, that it had before
            inotify.add_watch(path, WATCH_MASK).path = Path(path)
        except (FileNotFoundError, NotADirectoryError):
            return  # gone again
        except ValueError:
            return  # closed meanwhile
        except OSError as error:
            if self._inotify is not inotify:
                return  # closed meanwhile
            self._inotify = None
            self._loop.call_soon_threadsafe(self._stop_watching, inotify, error.strerror)

    async def _listen(self, inotify: Inotify) -> None:
        try:
            async for event in inotify:
                if event.mask & Mask.Q_OVERFLOW:
                    self._walk_from("")
                elif event.path is not None and event.name is not None:
                    self._event(str(event.path).removeprefix(self._root + "/"), event.mask)
                self.arrived.set()
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: whatever ends it has to be told
            occurrences.internal_error("receive", error, folder=self._root)
            self._stop_watching(inotify, "the listener failed")
        finally:
            inotify.close()

    def _event(self, key: str, mask: Mask) -> None:
        if mask & Mask.ISDIR:
            if mask & (Mask.CREATE | Mask.MOVED_TO):
                self._walk_from(key)
            return
        if not self._wanted(key):
            return
        if mask & (Mask.CLOSE_WRITE | Mask.MOVED_TO):
            self._settling.pop(key, None)
            self._ready[key] = None
        elif mask & (Mask.MODIFY | Mask.CREATE) or (mask & Mask.ATTRIB and key not in self._ready):
            self._unsettle(key, self._clock() + self._settle_secs)

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._listener is not None:
            listener, inotify = self._listener, self._inotify
            self._listener = self._inotify = None
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            if inotify is not None:
                inotify.close()
