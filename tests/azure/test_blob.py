"""What only the blob store does: pins, snapshots, broken connections, and errors with their outcome."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from azure.storage.blob.aio import ContainerClient

from ingestd.backfill.listing import PrefixListing
from ingestd.backfill.plan import Plan, place
from ingestd.cloud.azure import Account
from ingestd.errors import AttemptFailed, IngestdError, Overloaded, Permanent, Retryable, Superseded
from ingestd.model import ObjectRef
from ingestd.stores import azure_blob
from ingestd.stores._azure_errors import READER
from ingestd.stores.azure_blob import FIRST_BYTES, AzureBlobStore
from tests.azure.proxy import Cut, Proxy, Refuse, in_front_of, operation, operations
from tests.azure.servers import NAME, Azure

DATA = bytes(range(256)) * 24_000


@pytest.fixture
async def proxy(azure: Azure) -> AsyncIterator[Proxy]:
    """A proxy before the blobs."""
    async with in_front_of(azure.blob_url.rpartition("/")[0]) as made:
        yield made


@pytest.fixture
async def store(azure: Azure, proxy: Proxy) -> AsyncIterator[AzureBlobStore]:
    """A store that reads through the proxy."""
    made = azure_blob.build(azure.account(blobs=f"{proxy.url}/{NAME}"))
    yield made
    await made.close()


@pytest.fixture
def container(azure: Azure) -> str:
    """A container of the test's own."""
    return azure.container()


def reference(container: str, name: str = "a.json.gz", **fields: Any) -> ObjectRef:
    """The blob that most tests read."""
    return ObjectRef(store="az", bucket=NAME, key=f"{container}/{name}", **fields)


async def read(store: AzureBlobStore, ref: ObjectRef) -> bytes:
    """The whole blob."""
    async with await store.open(ref) as opened:
        return b"".join([piece async for piece in opened.chunks()])


# --- what is read -------------------------------------------------------------------------------------------


async def test_identity_and_origin_name_account_container_and_blob(
    azure: Azure, store: AzureBlobStore, container: str
) -> None:
    """The identity has the etag of the answer; the origin is what events carry."""
    etag = azure.put(container, "x/a b+c=ü%2B.json", b"x")
    async with await store.open(reference(container, "x/a b+c=ü%2B.json")) as opened:
        assert opened.identity == f"az://{NAME}/{container}/x/a b+c=ü%2B.json#{etag}"
        assert opened.origin == {
            "azure_account": NAME,
            "azure_container": container,
            "azure_blob": "x/a b+c=ü%2B.json",
        }


async def test_a_read_is_pinned_to_the_etag(azure: Azure, store: AzureBlobStore, container: str) -> None:
    """What was overwritten since its notice is not read by mistake."""
    etag = azure.put(container, "a.json.gz", b"old")
    assert await read(store, reference(container, etag=etag)) == b"old"
    azure.put(container, "a.json.gz", b"new")
    with pytest.raises(Superseded):
        await store.open(reference(container, etag=etag))


async def test_a_snapshot_is_read_as_it_was(azure: Azure, store: AzureBlobStore, container: str) -> None:
    """By the moment that its address names."""
    azure.put(container, "a.json.gz", b"old")
    snapshot = azure.blobs.get_blob_client(container, "a.json.gz").create_snapshot()["snapshot"]
    azure.put(container, "a.json.gz", b"new")
    assert await read(store, reference(container, version=f"snapshot={snapshot}")) == b"old"


async def test_a_snapshot_that_is_none_is_not_asked_for(store: AzureBlobStore, proxy: Proxy, container: str) -> None:
    """It would become part of the query."""
    for version in ("snapshot=x&comp=metadata", "snapshot=", "2024-05-01T10:00:00Z"):
        with pytest.raises(Permanent, match="no snapshot"):
            await store.open(reference(container, version=version))
    assert proxy.seen == []


async def test_an_encoded_blob_comes_as_it_is_stored(azure: Azure, store: AzureBlobStore, container: str) -> None:
    """The header `Content-Encoding` changes nothing: compression is told by the bytes."""
    data = gzip.compress(b"x" * 100)
    azure.put(container, "a.json.gz", data, encoding="gzip")
    assert await read(store, reference(container)) == data


async def test_a_small_blob_costs_one_request(
    azure: Azure, store: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """Most logs are small."""
    azure.put(container, "a.json.gz", b"x" * 1000)
    await read(store, reference(container))
    assert len(proxy.seen) == 1


async def test_page_blobs_are_not_read(azure: Azure, store: AzureBlobStore, container: str) -> None:
    """Neither when they are named nor when they are listed."""
    azure.blobs.get_blob_client(container, "a.vhd").create_page_blob(512)
    with pytest.raises(Permanent) as caught:
        await store.open(reference(container, "a.vhd"))
    assert caught.value.reason == "page_blob"
    assert [entry async for entry in store.list_objects(NAME, f"{container}/")] == []


async def test_a_listing_of_a_hierarchical_namespace_goes_on_where_it_was(
    azure: Azure, store: AzureBlobStore, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an account lists what is in a folder before its neighbours, and the folder itself as an empty blob: a
    listing that goes on after a key leaves nothing out, in that order as in the other."""
    for name in ("a", "a-b"):
        azure.put(container, name, b"")
    for name in ("a/1", "a/2", "a-b/1", "a.c", "aB/1", "a0"):
        azure.put(container, name, b"x")
    list_blobs = ContainerClient.list_blobs

    async def by_folders(self: ContainerClient, **options: Any) -> AsyncIterator[Any]:
        entries = [entry async for entry in list_blobs(self, **options)]
        for entry in sorted(entries, key=lambda entry: str(entry.name).split("/")):
            yield entry

    async def after(key: str) -> list[str]:
        listed = store.list_objects(NAME, f"{container}/", start_after=f"{container}/{key}" if key else "")
        return [entry.ref.key.partition("/")[2] async for entry in listed]

    for order in (["a-b/1", "a.c", "a/1", "a/2", "a0", "aB/1"], ["a/1", "a/2", "a-b/1", "a.c", "a0", "aB/1"]):
        assert await after("") == order
        for at, key in enumerate(order):
            later = order[at + 1 :]
            assert [name for name in await after(key) if name in later] == later
        monkeypatch.setattr(ContainerClient, "list_blobs", by_folders)


async def test_a_listing_without_a_container_goes_over_all(
    azure: Azure, store: AzureBlobStore, container: str
) -> None:
    """A prefix may end within a container's name; append blobs are listed unpinned."""
    other = azure.container()
    azure.put(container, "a", b"x")
    azure.append(other, "b", b"x\n")
    prefix = container.rpartition("-")[0] + "-"
    listed = [entry.ref async for entry in store.list_objects(NAME, prefix)]
    keys = [ref.key for ref in listed]
    assert keys == sorted(keys)
    assert {f"{container}/a", f"{other}/b"} <= set(keys)
    by_key = {ref.key: store.listed_identity(ref) for ref in listed}
    assert by_key[f"{other}/b"] is None
    assert by_key[f"{container}/a"] is not None
    later = [entry.ref.key async for entry in store.list_objects(NAME, prefix, start_after=keys[-2])]
    assert later == keys[-1:]


async def test_containers_are_listed_in_the_order_of_their_keys(
    azure: Azure, store: AzureBlobStore, container: str
) -> None:
    """`a-b/` comes before `a/`: a walk that goes on, and one that looks for folders with dates, leave none out."""
    names = [f"{container}-a-b", f"{container}-a"]
    for name in names:
        azure.blobs.create_container(name)
        azure.put(name, "2026/x", b"x")
    first, second = (f"{name}/2026/x" for name in names)
    target = place(f"az://{NAME}/{container}-a")
    dated = Plan(place=target, since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 2, 1, tzinfo=UTC))
    for plan in (Plan(place=target), msgspec.structs.replace(dated, layout="*/%Y/")):
        listing = PrefixListing(store, plan)
        assert [entry.position async for entry in listing.walk()] == [first, second]
        assert [entry.position async for entry in listing.walk(first)] == [second]


async def test_an_account_without_credentials_is_not_asked(azure: Azure, store: AzureBlobStore, proxy: Proxy) -> None:
    """Whoever sends messages cannot have our key sent elsewhere."""
    with pytest.raises(Permanent, match="another account") as caught:
        await store.open(ObjectRef(store="az", bucket="evil", key="logs/a"))
    assert caught.value.reason == "unknown_account"
    assert proxy.seen == []


@pytest.mark.parametrize(
    "name", ["evil.example/", "evil.example#", "evil.example?", "user@evil", "a.b", "LOGS", "", "é" * 5]
)
@pytest.mark.parametrize("reader", ["sdk", "fast"])
async def test_a_name_cannot_become_another_host(name: str, reader: azure_blob.Reader) -> None:
    """A token of ours would go there."""
    store = azure_blob.build(Account(account_url="https://logs.queue.core.windows.net"), reader=reader)
    with pytest.raises(Permanent) as caught:
        await store.open(ObjectRef(store="az", bucket=name, key="c/a", etag="0x1"))
    assert caught.value.reason == "bad_reference"
    await store.close()


@pytest.mark.parametrize(
    ("account_url", "expected"),
    [
        ("https://logs.queue.core.windows.net", "https://logs.blob.core.windows.net/"),
        ("https://logs.queue.core.usgovcloudapi.net/", "https://logs.blob.core.usgovcloudapi.net/"),
        ("https://logs.queue.core.chinacloudapi.cn", "https://logs.blob.core.chinacloudapi.cn/"),
    ],
)
async def test_accounts_are_looked_for_in_the_queues_own_cloud(account_url: str, expected: str) -> None:
    """Sovereign clouds are told by the address."""
    store = azure_blob.build(Account(account_url=account_url, sas_token=lambda: "sv=1&sig=x"))
    assert (await store._clients.blobs("logs")).url.startswith(expected)
    await store.close()


# --- broken connections -------------------------------------------------------------------------------------


async def test_a_large_blob_is_read_in_ranges_of_one_etag(
    azure: Azure, store: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """And goes on where it broke."""
    etag = azure.put(container, "a.json.gz", DATA)
    broken: list[str] = []

    def once_each(seen: Any) -> Cut | Refuse | None:
        ranged = seen.headers.get("x-ms-range", "")
        if ranged in broken or ranged.startswith("bytes=0-"):
            return None
        broken.append(ranged)
        return Cut(after=1000) if len(broken) % 2 else Refuse(503, "ServerBusy")

    proxy.rule = once_each
    assert await read(store, reference(container)) == DATA
    later = [seen for seen in operations(proxy, "read") if not seen.headers["x-ms-range"].startswith("bytes=0-")]
    assert {seen.headers.get("If-Match") for seen in later} == {f'"{etag}"'}
    assert broken


async def test_a_read_is_not_continued_in_other_content(azure: Azure, store: AzureBlobStore, container: str) -> None:
    """Half of the old and half of the new is nobody's content."""
    azure.put(container, "a.json.gz", DATA)
    async with await store.open(reference(container)) as opened:
        azure.put(container, "a.json.gz", DATA[::-1])
        with pytest.raises(Superseded):
            [piece async for piece in opened.chunks()]


async def test_ranges_that_fail_again_and_again_end_the_read(
    azure: Azure, store: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """To be tried again later, without being counted."""
    azure.put(container, "a.json.gz", DATA)
    proxy.rule = lambda seen: None if "bytes=0-" in seen.headers.get("x-ms-range", "") else Refuse(500)
    with pytest.raises(Retryable, match=rf"failed at byte {FIRST_BYTES}") as caught:
        await read(store, reference(container))
    assert not isinstance(caught.value, AttemptFailed)


@pytest.mark.parametrize("fault", [Refuse(503, "ServerBusy"), Refuse(500), Refuse(500, "OperationTimedOut")])
async def test_what_fails_in_passing_is_tried_again_at_once(
    azure: Azure, store: AzureBlobStore, proxy: Proxy, container: str, fault: Refuse
) -> None:
    """One bad answer does not send a message back to the queue."""
    azure.put(container, "a.json.gz", b"x")
    proxy.fail("s3 GET", fault)
    assert await read(store, reference(container)) == b"x"
    assert len(proxy.seen) == 2


# --- each error with its outcome ----------------------------------------------------------------------------

REFUSALS: list[tuple[Refuse, type[IngestdError], str, str]] = [
    (Refuse(404, "BlobNotFound"), Permanent, "not_found", "no such blob"),
    (Refuse(404, "ContainerNotFound"), Permanent, "no_container", "no such container"),
    (Refuse(409, "ContainerBeingDeleted"), Permanent, "no_container", "no such container"),
    (Refuse(412, "ConditionNotMet"), Superseded, "superseded", "overwritten"),
    (Refuse(409, "BlobArchived"), Permanent, "archived", "rehydrate it"),
    (Refuse(409, "BlobBeingRehydrated"), Permanent, "archived", "being rehydrated"),
    (Refuse(409, "BlobUsesCustomerSpecifiedEncryption"), Permanent, "customer_key", "comes with each request"),
    (Refuse(403, "AuthorizationPermissionMismatch"), AttemptFailed, "forbidden", f"the role {READER} is missing"),
    (Refuse(403, "AuthorizationFailure"), AttemptFailed, "forbidden", "network rules"),
    (Refuse(403, "KeyVaultEncryptionKeyNotFound"), AttemptFailed, "key_unusable", "encryption key"),
    (Refuse(400, "InvalidUri"), Permanent, "bad_reference", "InvalidUri"),
    (Refuse(400, "SomethingNew"), AttemptFailed, "azure_error", "SomethingNew"),
]


@pytest.mark.parametrize(("refusal", "kind", "reason", "text"), REFUSALS, ids=[row[0].code for row in REFUSALS])
async def test_each_refusal_has_its_outcome(
    store: AzureBlobStore, proxy: Proxy, refusal: Refuse, kind: type[IngestdError], reason: str, text: str
) -> None:
    """The class says what to do next, the text names the blob and what is missing."""
    proxy.rule = lambda seen: refusal
    with pytest.raises(kind, match=text) as caught:
        await store.open(reference("logs"))
    assert type(caught.value) is kind
    assert getattr(caught.value, "reason") == reason  # noqa: B009 - IngestdError itself has none
    assert f"az://{NAME}/logs/a.json.gz" in str(caught.value)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refuse(503, "ServerBusy"), Overloaded),
        (Refuse(500, "InternalError"), Retryable),
        (Refuse(403, "AuthenticationFailed"), Retryable),
        (Refuse(401, "NoAuthenticationInformation"), Retryable),
    ],
    ids=lambda value: value.code if isinstance(value, Refuse) else "",
)
async def test_what_is_not_the_blobs_fault_is_never_counted(
    store: AzureBlobStore, proxy: Proxy, refusal: Refuse, kind: type[Retryable]
) -> None:
    """A busy service or bad credentials must not set anything aside."""
    proxy.rule = lambda seen: refusal
    with pytest.raises(kind) as caught:
        await store.open(reference("logs"))
    assert type(caught.value) is kind


async def test_a_server_that_is_not_there_is_tried_again_later(azure: Azure) -> None:
    """A refused connection is nobody's fault in particular."""
    store = azure_blob.build(azure.account(blobs=f"http://127.0.0.1:9/{NAME}"))
    with pytest.raises(Retryable):
        await store.open(reference("logs"))
    await store.close()


# --- doctor -------------------------------------------------------------------------------------------------


async def test_check_names_the_role_that_is_missing(
    azure: Azure, store: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """Listing and reading are tried for themselves."""
    azure.put(container, "a", b"x")
    assert [check.ok for check in await store.check(NAME, f"{container}/")] == [True, True]
    denied = Refuse(403, "AuthorizationPermissionMismatch")
    proxy.rule = lambda seen: denied if operation(seen) == "read" else None
    assert [check.missing_permission for check in await store.check(NAME, f"{container}/")] == ["", READER]
    proxy.rule = lambda seen: denied
    assert [check.missing_permission for check in await store.check(NAME, f"{container}/")] == [READER, ""]


# --- the fast reader ----------------------------------------------------------------------------------------


@pytest.fixture
async def fast(azure: Azure, proxy: Proxy) -> AsyncIterator[AzureBlobStore]:
    """A store that reads by obstore, through the proxy."""
    made = azure_blob.build(azure.account(blobs=f"{proxy.url}/{NAME}"), reader="fast")
    yield made
    await made.close()


def by_sdk(proxy: Proxy) -> list[str]:
    """Ranges that the SDK asked for."""
    return [seen.headers["x-ms-range"] for seen in operations(proxy, "read") if "x-ms-range" in seen.headers]


async def test_what_is_pinned_is_read_fast(azure: Azure, fast: AzureBlobStore, proxy: Proxy, container: str) -> None:
    """By one request, whatever its size; under the same identity as by the SDK."""
    for data in (b"x" * 1000, DATA):
        etag = azure.put(container, "a.json.gz", data)
        ref = reference(container, etag=etag)
        async with await fast.open(ref) as opened:
            assert opened.identity == f"{ref.url}#{etag}"
            assert b"".join([piece async for piece in opened.chunks()]) == data
    assert (len(operations(proxy, "read")), by_sdk(proxy)) == (2, [])


async def test_what_is_not_pinned_is_left_to_the_sdk(
    azure: Azure, fast: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """It may be an append blob, which only the SDK's answer tells."""
    azure.append(container, "a.json", b"{}\n")
    async with await fast.open(reference(container, "a.json")) as opened:
        assert opened.look_again_secs is not None
    assert len(by_sdk(proxy)) == 1


async def test_a_fast_body_that_breaks_goes_on_by_the_sdk(
    azure: Azure, fast: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """Where it broke, and of the same etag."""
    etag = azure.put(container, "a.json.gz", DATA)
    proxy.fail("s3 GET", Cut(after=2_000_000))
    assert await read(fast, reference(container, etag=etag)) == DATA
    assert by_sdk(proxy)
    assert not by_sdk(proxy)[0].startswith("bytes=0-")


async def test_what_goes_wrong_fast_is_told_by_the_sdk(
    azure: Azure, fast: AzureBlobStore, proxy: Proxy, container: str
) -> None:
    """The same errors with either reader."""
    etag = azure.put(container, "a.json.gz", b"old")
    azure.put(container, "a.json.gz", b"new")
    with pytest.raises(Superseded):
        await fast.open(reference(container, etag=etag))
    proxy.rule = lambda seen: Refuse(403, "AuthorizationPermissionMismatch")
    with pytest.raises(AttemptFailed, match=f"the role {READER} is missing"):
        await fast.open(reference(container, etag=etag))
    proxy.rule = lambda seen: None
    with pytest.raises(Permanent, match="another account"):
        await fast.open(ObjectRef(store="az", bucket="evil", key="logs/a", etag="0x1"))
