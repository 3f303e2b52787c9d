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
from itertools import islice

from asyncinotify import Inotify, Mask

from ingestd.folder import walk

WALK_STEP = 500
"""Files looked at per step of the walk, so that the loop goes on between."""
WATCH_MASK = (
    Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.MODIFY | Mask.CREATE | Mask.DELETE_SELF | Mask.ONLYDIR | Mask.DONT_FOLLOW
)


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
        self._walks: deque[Iterator[tuple[str, os.stat_result]]] = deque()
        self._next_walk = 0.0
        self._inotify: Inotify | None = None
        self._listener: asyncio.Task[None] | None = None
        self.arrived = asyncio.Event()

    def start(self) -> None:
        """Begin to listen, then to walk: nothing that comes between the two is missed."""
        try:
            self._inotify = Inotify()
            self._listener = asyncio.get_running_loop().create_task(self._listen(self._inotify))
        except OSError as error:
            self._without_inotify(error)
        self._walk_from("")

    def _walk_from(self, folder: str) -> None:
        """Queue a walk; each folder is watched before it is listed, so that nothing falls between."""
        self._walks.append(walk(self._root, folder, self._watch_folder))

    def _without_inotify(self, error: OSError) -> None:
        """Fall back to walking the tree every `rescan_secs`."""
        self._on_degraded(f"{self._root}: cannot be watched ({error.strerror}); it is walked instead")
        self._next_walk = self._clock() + self._rescan_secs

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
        found = await asyncio.to_thread(lambda walking: list(islice(walking, WALK_STEP)), self._walks[0])
        if not found:
            self._walks.popleft()
            self._next_walk = self._clock() + self._rescan_secs
        for key, status in found:
            if self._wanted(key):
                self._found(key, status)

    def _found(self, key: str, status: os.stat_result) -> None:
        unchanged_since = max(status.st_mtime, status.st_ctime)
        if self._clock() - unchanged_since >= self._settle_secs:
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
        if self._inotify is None:
            return
        try:
            self._inotify.add_watch(os.path.join(self._root, folder), WATCH_MASK)
        except FileNotFoundError:
            return  # gone again
        except OSError as error:
            self._inotify.close()
            self._inotify = None
            self._without_inotify(error)

    async def _listen(self, inotify: Inotify) -> None:
        async for event in inotify:
            if event.mask & Mask.Q_OVERFLOW:
                self._walk_from("")
            elif event.path is not None and event.name is not None:
                self._event(str(event.path).removeprefix(self._root + "/"), event.mask)
            self.arrived.set()

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
        elif mask & (Mask.MODIFY | Mask.CREATE):
            self._unsettle(key, self._clock() + self._settle_secs)

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
