"""What only the store of Cloud Storage does: generations, transcoding, and errors that name what is missing."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest

from ingestd.cloud.gcp import Account
from ingestd.errors import AttemptFailed, IngestdError, Overloaded, Permanent, Retryable, Superseded
from ingestd.model import ObjectRef
from ingestd.stores import gcs
from ingestd.stores._gcs_errors import BILL, LIST, READ
from ingestd.stores.gcs import GcsStore
from tests.aws.proxy import Cut, Proxy, Refuse, in_front_of
from tests.gcp.servers import Gcp
from tests.gcp.storage import Stored

BIG = bytes(range(256)) * 8_000


@pytest.fixture
async def proxy(gcp: Gcp) -> AsyncIterator[Proxy]:
    """A proxy before the objects."""
    async with in_front_of(gcp.storage.url) as made:
        yield made


@pytest.fixture
async def store(gcp: Gcp, proxy: Proxy) -> AsyncIterator[GcsStore]:
    """A store by way of the proxy."""
    made = gcs.build(gcp.account(proxy.url))
    yield made
    await made.close()


def ref(stored: Stored, *, pinned: bool = True) -> ObjectRef:
    """A reference to an object."""
    etag = str(stored.generation) if pinned else None
    return ObjectRef(store="gs", bucket=stored.bucket, key=stored.name, etag=etag)


async def read(store: GcsStore, wanted: ObjectRef, offset: int = 0) -> bytes:
    """All bytes from the offset on."""
    async with await store.open(wanted, offset=offset) as opened:
        return b"".join([piece async for piece in opened.chunks()])


async def test_what_is_stored_with_gzip_comes_as_it_is_stored(gcp: Gcp, store: GcsStore) -> None:
    """With its length, and from any byte on."""
    packed = gzip.compress(BIG, 0)
    stored = gcp.storage.put(gcp.bucket(), "a.json", packed, encoding="gzip")
    async with await store.open(ref(stored)) as opened:
        assert opened.size == len(packed)
    assert await read(store, ref(stored)) == packed
    assert await read(store, ref(stored), 100) == packed[100:]


@pytest.mark.parametrize("name", ["a b/ü+%2F.log", "ends/with/", "x?y#z&generation=1", "../up", "//"])
async def test_any_name_is_taken_literally(gcp: Gcp, store: GcsStore, name: str) -> None:
    """As the service does."""
    stored = gcp.storage.put(gcp.bucket(), name, b"x")
    assert await read(store, ref(stored)) == b"x"


async def test_identity_and_origin_are_bucket_name_and_generation(gcp: Gcp, store: GcsStore) -> None:
    """Whether the reference says the generation or not."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", b"x")
    for pinned in (True, False):
        async with await store.open(ref(stored, pinned=pinned)) as opened:
            assert opened.identity == f"gs://{stored.bucket}/a.log#{stored.generation}"
            assert opened.origin == {"gcs_bucket": stored.bucket, "gcs_object": "a.log"}


async def test_a_read_goes_on_where_the_connection_broke(gcp: Gcp, store: GcsStore, proxy: Proxy) -> None:
    """By range, of the same generation."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", BIG)
    proxy.fail("s3 GET", Cut(300_000), Cut(0), Refuse(503), Cut(1_000_000))
    assert await read(store, ref(stored, pinned=False)) == BIG
    assert "Range" not in proxy.seen[0].headers
    assert all(seen.headers["Range"].startswith("bytes=") for seen in proxy.seen[1:])
    assert all(f"generation={stored.generation}" in seen.path for seen in proxy.seen[1:])


async def test_connections_that_always_break_end(gcp: Gcp, store: GcsStore, proxy: Proxy) -> None:
    """The message goes back, and nothing is counted."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", BIG)
    proxy.rule = lambda seen: Cut(0)
    with pytest.raises(Retryable, match="connections broke at byte 0"):
        await read(store, ref(stored))


async def test_content_that_changed_while_it_was_read_is_superseded(gcp: Gcp, store: GcsStore, proxy: Proxy) -> None:
    """The bytes of two generations never mix."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", BIG)
    proxy.fail("s3 GET", Cut(300_000))
    async with await store.open(ref(stored)) as opened:
        pieces = opened.chunks()
        await anext(pieces)
        gcp.storage.put(stored.bucket, "a.log", b"other")
        with pytest.raises(Superseded):
            async for _ in pieces:
                pass


async def test_an_overwritten_object_is_superseded_unless_versions_are_kept(gcp: Gcp, store: GcsStore) -> None:
    """A versioned bucket still has what the notice meant."""
    bucket = gcp.bucket()
    first = gcp.storage.put(bucket, "a.log", b"one")
    second = gcp.storage.put(bucket, "a.log", b"two")
    with pytest.raises(Superseded, match=str(second.generation)):
        await store.open(ref(first))
    gcp.storage.versioned = True
    gcp.storage.put(bucket, "a.log", b"three")
    assert await read(store, ref(second)) == b"two"


REFUSALS = [
    (Refuse(401), Retryable, "does not take our credentials"),
    (Refuse(403), AttemptFailed, f"{READ} is missing, which the role Storage Object Viewer has"),
    (Refuse(403, message="Permission denied on Cloud KMS key"), AttemptFailed, "encryption key cannot be used"),
    (
        Refuse(403, message=f"a@b does not have {BILL} access to the Google Cloud project."),
        AttemptFailed,
        f"{BILL} on `billing_project` is missing",
    ),
    (Refuse(404), Permanent, "no such object"),
    (Refuse(412), Superseded, "overwritten"),
    (Refuse(429), Overloaded, "slow down"),
    (Refuse(503), Retryable, "on the service's side"),
    (Refuse(418), AttemptFailed, "418"),
]


@pytest.mark.parametrize(("refusal", "kind", "text"), REFUSALS, ids=lambda value: str(getattr(value, "status", "")))
async def test_each_refusal_has_its_outcome(
    gcp: Gcp, store: GcsStore, proxy: Proxy, refusal: Refuse, kind: type[IngestdError], text: str
) -> None:
    """And names the object."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", b"x")
    proxy.rule = lambda seen: refusal
    with pytest.raises(kind, match=text) as caught:
        await store.open(ref(stored))
    assert f"gs://{stored.bucket}/a.log" in str(caught.value)


async def test_a_bucket_whose_readers_pay_is_read_at_the_expense_of_a_project(gcp: Gcp, store: GcsStore) -> None:
    """Every request says which: for bytes, of whatever range, and for listings."""
    bucket = gcp.bucket()
    gcp.storage.readers_pay.add(bucket)
    stored = gcp.storage.put(bucket, "a.log", b"xy")
    with pytest.raises(Permanent, match="set `billing_project`"):
        await store.open(ref(stored))
    paying = gcs.build(gcp.account(), billing_project="our-project")
    assert [await read(paying, ref(stored), offset) for offset in (0, 1, 2)] == [b"xy", b"y", b""]
    assert [entry.ref.key async for entry in paying.list_objects(bucket, "")] == ["a.log"]
    await paying.close()


async def test_a_bucket_that_is_not_there_is_told_from_an_object(gcp: Gcp, store: GcsStore) -> None:
    """By its reason."""
    with pytest.raises(Permanent) as caught:
        await store.open(ObjectRef(store="gs", bucket="no-such-bucket", key="a", etag="1"))
    assert caught.value.reason == "no_bucket"


async def test_a_reference_that_names_nothing_is_refused(store: GcsStore) -> None:
    """Before anything is sent."""
    for key, etag in (("", None), ("a", "x&alt=json")):
        with pytest.raises(Permanent) as caught:
            await store.open(ObjectRef(store="gs", bucket="b", key=key, etag=etag))
        assert caught.value.reason == "bad_reference"


async def test_check_names_the_missing_permission(gcp: Gcp, store: GcsStore, proxy: Proxy) -> None:
    """Listing and reading need different ones."""
    stored = gcp.storage.put(gcp.bucket(), "a.log", b"x")
    nobody_pays = Refuse(403, message=f"a@b does not have {BILL} access to the project.")
    for part, refusal, permission in (
        ("/download/", Refuse(403), READ),
        ("?prefix", Refuse(403), LIST),
        ("?prefix", nobody_pays, BILL),
    ):
        proxy.rule = lambda seen, part=part, refusal=refusal: refusal if part in seen.path else None  # type: ignore[misc]
        checks = await store.check(stored.bucket, "")
        assert [check.missing_permission for check in checks if check.missing_permission] == [permission]


async def test_a_long_listing_comes_in_pages(gcp: Gcp, store: GcsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry pinned to its generation."""
    monkeypatch.setattr(gcs, "PAGE", 2)
    bucket = gcp.bucket()
    written = [gcp.storage.put(bucket, f"{number}.log", b"x") for number in range(5)]
    listed = [entry async for entry in store.list_objects(bucket, "")]
    assert [entry.ref.etag for entry in listed] == [str(stored.generation) for stored in written]
    assert store.listed_identity(listed[0].ref) == f"gs://{bucket}/0.log#{written[0].generation}"


async def test_the_environment_may_name_a_proxy(gcp: Gcp, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is asked for every object, unless the environment makes an exception."""
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    proxy.rule = lambda seen: Refuse(404)
    by_proxy = gcs.build(Account(storage_endpoint="http://storage.test"))
    with pytest.raises(Permanent, match="no such object"):
        await by_proxy.open(ObjectRef(store="gs", bucket="b", key="a"))
    assert [seen.path for seen in proxy.seen] == ["http://storage.test/download/storage/v1/b/b/o/a?alt=media"]
    await by_proxy.close()
    directly = gcs.build(gcp.account())
    assert await read(directly, ref(gcp.storage.put(gcp.bucket(), "a.log", b"x"))) == b"x"
    await directly.close()


async def test_no_token_goes_to_an_address_without_tls(gcp: Gcp) -> None:
    """Whatever credentials there are."""

    def credentials() -> str:
        raise AssertionError("they are not even read")

    store = gcs.build(Account(credentials=credentials, storage_endpoint=gcp.storage.url))
    stored = gcp.storage.put(gcp.bucket(), "a.log", b"x")
    assert await read(store, ref(stored)) == b"x"
    await store.close()
    assert set(gcp.storage.tokens) == {""}
