"""The file store: identity by content, growth, and what it refuses to open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingestd.errors import AttemptFailed, IngestdError, Permanent, Superseded
from ingestd.folder import open_regular
from ingestd.model import Growth, ObjectRef
from ingestd.stores.file import WHOLE_BYTES, FileStore


def _ref(folder: Path, key: str, growth: Growth | None = None) -> ObjectRef:
    return ObjectRef(store="file", bucket=str(folder), key=key, growth=growth)


async def _growth_of(store: FileStore, ref: ObjectRef) -> Growth:
    async with await store.open(ref) as opened:
        return Growth(identity=opened.identity, size=opened.size or 0)


async def test_a_file_that_grew_says_what_it_grew_from(tmp_path: Path) -> None:
    """The old content is a prefix of the new one."""
    store = FileStore()
    (tmp_path / "a.log").write_bytes(b"one\n")
    before = await _growth_of(store, _ref(tmp_path, "a.log"))
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    async with await store.open(_ref(tmp_path, "a.log", before)) as opened:
        assert opened.grown_from == before.identity
        assert opened.identity != before.identity


@pytest.mark.parametrize("content", [b"One\ntwo\n", b"on", b""])
async def test_a_file_that_was_rewritten_did_not_grow(tmp_path: Path, content: bytes) -> None:
    """Other bytes, or fewer, are another object."""
    store = FileStore()
    (tmp_path / "a.log").write_bytes(b"one\n")
    before = await _growth_of(store, _ref(tmp_path, "a.log"))
    (tmp_path / "a.log").write_bytes(content)
    async with await store.open(_ref(tmp_path, "a.log", before)) as opened:
        assert opened.grown_from is None


async def test_a_large_file_that_grew_is_recognised_too(tmp_path: Path) -> None:
    """The prefix may end anywhere in a streamed file."""
    store = FileStore()
    content = os.urandom(WHOLE_BYTES + 12_345)
    (tmp_path / "a.log").write_bytes(content)
    before = await _growth_of(store, _ref(tmp_path, "a.log"))
    (tmp_path / "a.log").write_bytes(content + b"more")
    async with await store.open(_ref(tmp_path, "a.log", before)) as opened:
        assert opened.grown_from == before.identity
        assert b"".join([piece async for piece in opened.chunks()]) == content + b"more"


async def test_what_is_appended_while_reading_is_not_read(tmp_path: Path) -> None:
    """The content is that of the moment of opening."""
    store = FileStore()
    content = os.urandom(WHOLE_BYTES + 1)
    (tmp_path / "a.log").write_bytes(content)
    async with await store.open(_ref(tmp_path, "a.log")) as opened:
        with (tmp_path / "a.log").open("ab") as writing:
            writing.write(b"later")
        assert b"".join([piece async for piece in opened.chunks()]) == content


async def test_a_large_file_changed_while_it_is_read_is_superseded(tmp_path: Path) -> None:
    """Bytes that are no longer those of the identity are not handed out as if they were."""
    store = FileStore()
    (tmp_path / "a.log").write_bytes(b"a" * (WHOLE_BYTES + 1))
    async with await store.open(_ref(tmp_path, "a.log")) as opened:
        with (tmp_path / "a.log").open("r+b") as writing:
            writing.write(b"b")
        with pytest.raises(Superseded):
            async for _ in opened.chunks():
                pass


async def test_files_are_listed_in_the_order_of_their_keys(tmp_path: Path) -> None:
    """Across folders: a listing that goes on after a key leaves none out."""
    keys = ["a-b/x", "a.log", "a/b/y", "a/x", "a0", "b/x", "c"]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"x")
    store = FileStore()
    for at, after in enumerate(["", *keys]):
        listed = [entry.ref.key async for entry in store.list_objects(str(tmp_path), "", start_after=after)]
        assert listed == keys[at:]


@pytest.mark.parametrize("key", ["../secret", "link", "folder-link/secret", "/etc/hostname"])
async def test_nothing_outside_the_folder_is_read(tmp_path: Path, key: str) -> None:
    """Neither by dots nor by links."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "secret").write_text("secret")
    (inbox / "link").symlink_to(tmp_path / "secret")
    (inbox / "folder-link").symlink_to(tmp_path)
    with pytest.raises(IngestdError) as caught:
        await FileStore().open(_ref(inbox, key))
    assert isinstance(caught.value, Permanent)
    assert caught.value.reason == "outside"


async def test_a_folder_that_is_swapped_for_a_link_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is where the file lies that was opened, not where its name led before."""
    inside, outside = tmp_path / "inbox" / "day", tmp_path / "private"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "a.log").write_text("secret")

    def swapped(path: str) -> tuple[int, os.stat_result]:
        inside.rename(tmp_path / "moved")
        inside.symlink_to(outside)
        return open_regular(path)

    monkeypatch.setattr("ingestd.stores.file.open_regular", swapped)
    with pytest.raises(Permanent) as caught:
        await FileStore().open(_ref(tmp_path / "inbox", "day/a.log"))
    assert caught.value.reason == "outside"


@pytest.mark.parametrize("size", [10, WHOLE_BYTES + 10])
async def test_a_file_that_grew_since_is_opened_again_as_it_was(tmp_path: Path, size: int) -> None:
    """A worker that died over a growing file is given the same content again."""
    store = FileStore()
    content = os.urandom(size)
    (tmp_path / "a.log").write_bytes(content)
    async with await store.open(_ref(tmp_path, "a.log")) as opened:
        first = opened
    (tmp_path / "a.log").write_bytes(content + b"more")
    async with await store.open(first.ref) as again:
        assert (again.identity, again.size) == (first.identity, size)
        assert b"".join([piece async for piece in again.chunks()]) == content
    async with await store.open(_ref(tmp_path, "a.log")) as whole:
        assert whole.size == size + 4


@pytest.mark.parametrize("content", [b"ten bytes?", b"short", b"other and longer"])
async def test_a_file_that_was_overwritten_since_is_superseded(tmp_path: Path, content: bytes) -> None:
    """Opened again as it was, it is no longer there."""
    store = FileStore()
    (tmp_path / "a.log").write_bytes(b"ten bytes!")
    async with await store.open(_ref(tmp_path, "a.log")) as opened:
        first = opened
    (tmp_path / "a.log").write_bytes(content)
    with pytest.raises(Superseded):
        await store.open(first.ref)


async def test_the_size_in_a_notice_binds_nobody(tmp_path: Path) -> None:
    """A file is read as it lies there, however long it was when the notice was written."""
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    ref = ObjectRef(store="file", bucket=str(tmp_path), key="a.log", size=4)
    async with await FileStore().open(ref) as opened:
        assert opened.size == 8


async def test_a_file_that_may_not_be_read_may_yet_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may change its permissions: the attempt is counted, nothing is decided."""
    (tmp_path / "a.log").write_bytes(b"one")

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(AttemptFailed) as caught:
        await FileStore().open(_ref(tmp_path, "a.log"))
    assert caught.value.reason == "forbidden"


async def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    """A special file cannot stall the daemon."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Permanent) as caught:
        await FileStore().open(_ref(tmp_path, "pipe"))
    assert caught.value.reason == "not_a_file"
