"""A repetition: the same objects under another identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingestd.backfill.again import Again, check_name
from ingestd.model import ObjectRef
from ingestd.stores.file import FileStore
from ingestd.stores.memory import MemoryStore


async def test_the_content_stays_and_the_identity_is_another() -> None:
    """For each name of a repetition its own."""
    store = MemoryStore()
    ref = store.put("b", "k", b"data")
    identities = set()
    for one in (store, Again(store, "x"), Again(store, "y")):
        async with await one.open(ref) as opened:
            identities.add(opened.identity)
            assert b"".join([piece async for piece in opened.chunks()]) == b"data"
    assert len(identities) == 3
    assert [entry.ref.key async for entry in Again(store, "x").list_objects("b", "")] == ["k"]


async def test_what_grows_is_read_as_it_is_now(tmp_path: Path) -> None:
    """Nothing is followed, and nothing counts that was read before."""
    (tmp_path / "a.log").write_text("line\n")
    again = Again(FileStore(), "x")
    assert not again.objects_grow
    async with await again.open(ObjectRef(store="file", bucket=str(tmp_path), key="a.log")) as opened:
        assert opened.identity.endswith("@x")
        assert not opened.may_grow
        assert opened.grown_from is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "ü", "-x"])
def test_a_name_that_cannot_be_part_of_an_identity_is_refused(name: str) -> None:
    """It would be one in every record's id."""
    with pytest.raises(ValueError, match="no name of a repetition"):
        check_name(name)
