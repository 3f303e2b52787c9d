"""Objects without end, made by another process ahead of who puts them somewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tests.clouds import elsewhere
from tests.proofs import world
from tests.proofs.world import Expectation, World

AHEAD = 2


class Supply:
    """Waves of objects in folders below one. Used from several threads, for worlds of different seeds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closed = False
        self._maker = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=elsewhere.move_this_thread)

    def waves(self, first: World) -> Iterator[tuple[Path, Expectation]]:
        """A folder of files, and what must come of them, until it is closed: worlds as the first, each of another
        seed."""
        ahead: deque[tuple[Path, Future[Expectation]]] = deque()
        some = first
        while not self._closed:
            while len(ahead) < AHEAD:
                folder = self._folder / f"{some.seed:08x}"
                ahead.append((folder, self._maker.submit(_make, some, folder)))
                some = replace(some, seed=some.seed + 1)
            folder, made = ahead.popleft()
            try:
                expected = made.result()
            except CancelledError:
                return
            yield folder, expected

    def close(self) -> None:
        """Make no more."""
        self._closed = True
        self._maker.shutdown(cancel_futures=True)


def _make(some: World, folder: Path) -> Expectation:
    """In the process that makes them."""
    world.write(some, folder)
    return world.expected(some)
