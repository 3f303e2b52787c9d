"""The file store: identity by content, growth, and what it refuses to open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingestd.errors import IngestdError, Permanent, Superseded
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


async def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    """A special file cannot stall the daemon."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Permanent) as caught:
        await FileStore().open(_ref(tmp_path, "pipe"))
    assert caught.value.reason == "not_a_file"
