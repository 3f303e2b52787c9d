"""What every store promises (`ingestd/stores/base.py`), asked of each implementation in turn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingestd.errors import Permanent
from ingestd.model import ObjectRef
from ingestd.stores import azure_blob, gcs, s3
from ingestd.stores.base import Store
from ingestd.stores.file import FileStore
from ingestd.stores.memory import MemoryStore
from tests.aws.servers import Aws
from tests.azure.servers import NAME, Azure
from tests.gcp.servers import Gcp


@dataclass
class Subject:
    """A store under test and the way to put an object into it."""

    store: Store
    bucket: str
    put: Callable[[str, bytes], None]
    folder: str = ""
    """What keys begin with, where `bucket` does not say it all."""
    tells_writes_apart: bool = False
    """Whether the same bytes written again are another object."""
    pins: dict[str, str] = field(default_factory=dict)
    """Key → etag, where the store has another way for what is pinned."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Key → size, where it has another way for what is small."""

    def ref(self, key: str) -> ObjectRef:
        """A reference, pinned to what `put` told."""
        etag, size = self.pins.get(key), self.sizes.get(key)
        return ObjectRef(store=self.store.name, bucket=self.bucket, key=self.folder + key, etag=etag, size=size)


Maker = Callable[[pytest.FixtureRequest, Path], Subject]


def _memory(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    store = MemoryStore()
    return Subject(store, "bucket", lambda key, data: void(store.put("bucket", key, data)))


def _file(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    def put(key: str, data: bytes) -> None:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return Subject(FileStore(), str(tmp_path), put)


def void(_: object) -> None:
    """Drop a result."""


def _s3(server: str, reader: s3.Reader, *, tells_sizes: bool = False) -> Maker:
    def make(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
        aws: Aws = request.getfixturevalue(server)
        bucket = aws.bucket()
        sizes: dict[str, int] = {}

        def put(key: str, data: bytes) -> None:
            aws.put(bucket, key, data)
            if tells_sizes:
                sizes[key] = len(data)

        return Subject(s3.build(aws.account, reader=reader), bucket, put, sizes=sizes)

    return make


def _azure(reader: azure_blob.Reader) -> Maker:
    def make(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
        azure: Azure = request.getfixturevalue("azure")
        container = azure.container()
        pins: dict[str, str] = {}

        def put(key: str, data: bytes) -> None:
            etag = azure.put(container, key, data)
            if reader == "fast":
                pins[key] = etag

        store = azure_blob.build(azure.account(), reader=reader)
        return Subject(store, NAME, put, folder=f"{container}/", tells_writes_apart=True, pins=pins)

    return make


def _gcs(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    gcp: Gcp = request.getfixturevalue("gcp")
    bucket = gcp.bucket()
    return Subject(
        gcs.build(gcp.account()),
        bucket,
        lambda key, data: void(gcp.storage.put(bucket, key, data)),
        tells_writes_apart=True,
    )


SUBJECTS: dict[str, Maker] = {
    "memory": _memory,
    "file": _file,
    "s3 on ministack": _s3("ministack", "sdk"),
    "s3 on moto": _s3("moto", "sdk"),
    "s3 on ministack, fast": _s3("ministack", "fast"),
    "s3 on moto, fast": _s3("moto", "fast"),
    "s3 on ministack, fast, sizes known": _s3("ministack", "fast", tells_sizes=True),
    "s3 on moto, fast, sizes known": _s3("moto", "fast", tells_sizes=True),
    "azure_blob": _azure("sdk"),
    "azure_blob, fast": _azure("fast"),
    "gcs": _gcs,
}


@pytest.fixture(params=list(SUBJECTS.values()), ids=list(SUBJECTS))
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Each store in turn."""
    made: Subject = request.param(request, tmp_path)
    yield made
    await made.store.close()


async def _read(store: Store, ref: ObjectRef, offset: int = 0) -> bytes:
    async with await store.open(ref, offset=offset) as opened:
        return b"".join([piece async for piece in opened.chunks()])


@pytest.mark.parametrize("size", [0, 1, 1_048_576, 9_000_000])
async def test_the_bytes_come_as_they_were_stored(subject: Subject, size: int) -> None:
    """Whole content, in pieces of at most 1 MiB, with the size known."""
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    subject.put("a/b.log", data)
    async with await subject.store.open(subject.ref("a/b.log")) as opened:
        pieces = [piece async for piece in opened.chunks()]
        assert opened.size == size
        assert opened.whole in (None, data)
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= 1_048_576 for piece in pieces)


@pytest.mark.parametrize("offset", [0, 2, 4])
async def test_an_object_says_when_it_was_stored(subject: Subject, offset: int) -> None:
    """Also where nothing is left to read: of two snapshots of something it tells which is the newer one."""
    subject.put("a", b"data")
    async with await subject.store.open(subject.ref("a"), offset=offset) as opened:
        assert opened.modified is not None
        assert abs(time.time() - opened.modified) < 600


async def test_a_read_may_start_at_an_offset(subject: Subject) -> None:
    """The rest from that byte on comes, under the same identity."""
    subject.put("a.log", b"0123456789")
    assert await _read(subject.store, subject.ref("a.log"), offset=4) == b"456789"


async def test_the_identity_is_that_of_the_content(subject: Subject) -> None:
    """The same object read again is the same identity, other bytes are another; and the same bytes written again are
    the same, where the service goes by content."""
    identities = []
    for data in (b"one", None, b"one", b"two"):
        if data is not None:
            subject.put("a.log", data)
        async with await subject.store.open(subject.ref("a.log")) as opened:
            identities.append(opened.identity)
    assert identities[0] == identities[1]
    assert (identities[1] != identities[2]) == subject.tells_writes_apart
    assert identities[3] not in identities[:3]


async def test_a_missing_object_is_permanent_and_named(subject: Subject) -> None:
    """The error says which object, and that it is not there."""
    with pytest.raises(Permanent, match=r"gone\.log") as caught:
        await subject.store.open(subject.ref("gone.log"))
    assert caught.value.reason == "not_found"


async def test_a_listing_is_in_key_order_and_starts_after_a_key(subject: Subject) -> None:
    """Listing by prefix, resumable."""
    for key in ("p/c.log", "p/a.log", "q/z.log", "p/b.log"):
        subject.put(key, b"x")
    folder = f"{subject.folder}p/"
    listed = [entry.ref.key async for entry in subject.store.list_objects(subject.bucket, folder)]
    assert listed == [f"{folder}{name}.log" for name in "abc"]
    after = f"{folder}a.log"
    rest = [e.ref.key async for e in subject.store.list_objects(subject.bucket, folder, start_after=after)]
    assert rest == listed[1:]


async def test_folders_come_in_key_order(subject: Subject) -> None:
    """Each once, whatever its name sorts like and however much lies in it; objects beside them are none."""
    for key in ("p/a/1", "p/a/2", "p/a-b/1", "p/a0/1/2", "p/b", "p/ü/1", "q/c/1"):
        subject.put(key, b"x")
    folder = f"{subject.folder}p/"
    found = [one async for one in subject.store.list_folders(subject.bucket, folder)]
    assert found == [f"{folder}{name}/" for name in ("a-b", "a", "a0", "ü")]


async def test_check_says_what_it_tried(subject: Subject) -> None:
    """doctor gets at least one line."""
    assert await subject.store.check(subject.bucket, subject.folder)
