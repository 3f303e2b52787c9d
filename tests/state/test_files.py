"""What a directory source remembers of paths."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial

import pytest

from ingestd.state import files
from ingestd.state.memory import MemoryState

HOSTILE = os.fsdecode(b"caf\xe9/\xff\n%s'--.json")
LARGEST = (2**64 - 1, 2**64 - 1, 2**62, -(2**62), 2**62)


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    """An empty state."""
    state = MemoryState()
    yield state
    await state.close()


async def test_remembers_the_newest_signature_of_each_path(state: MemoryState) -> None:
    """A path that is remembered again has its new signature; unknown paths are left out of the answer."""
    await state.transact(lambda tx: files.remember(tx, "inbox", {"a": (1, 2, 3, 4, 5), "b": (1, 3, 5, 7, 9)}, 10.0))
    await state.transact(lambda tx: files.remember(tx, "inbox", {"a": (1, 2, 9, 9, 9)}, 11.0))
    known = await state.read(lambda tx: files.lookup_many(tx, "inbox", ["a", "b", "c"]))
    assert known == {"a": (1, 2, 9, 9, 9), "b": (1, 3, 5, 7, 9)}


async def test_any_name_and_any_number_of_a_file_system_fits(state: MemoryState) -> None:
    """Names that are not UTF-8 and the largest numbers come back as they were."""
    await state.transact(lambda tx: files.remember(tx, "inbox", {HOSTILE: LARGEST}, 10.0))
    assert await state.read(lambda tx: files.lookup_many(tx, "inbox", [HOSTILE])) == {HOSTILE: LARGEST}


async def test_sources_do_not_see_each_others_files(state: MemoryState) -> None:
    """The same path below two sources is two files."""
    await state.transact(lambda tx: files.remember(tx, "one", {"a": (1, 2, 3, 4, 5)}, 10.0))
    assert await state.read(lambda tx: files.lookup_many(tx, "other", ["a"])) == {}


async def test_walks_through_and_forgets_what_is_gone(state: MemoryState) -> None:
    """All known paths are listed page by page; those forgotten are unknown afterwards."""
    paths = {f"{n:05}": (1, n, 0, 0, 0) for n in range(1_000)} | {HOSTILE: LARGEST}
    await state.transact(lambda tx: files.remember(tx, "inbox", paths, 10.0))
    seen = [""]
    while page := await state.read(partial(files.known_after, source="inbox", after=seen[-1], limit=300)):
        seen += page
    seen.remove("")
    assert seen == sorted(paths, key=os.fsencode)
    await state.transact(lambda tx: files.forget(tx, "inbox", seen[10:]))
    assert set(await state.read(lambda tx: files.lookup_many(tx, "inbox", seen))) == set(seen[:10])
