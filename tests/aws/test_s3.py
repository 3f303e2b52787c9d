"""What only the S3 store does: pins, versions, broken connections, and errors with their outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ingestd.cloud.aws import Account, Clients
from ingestd.errors import AttemptFailed, IngestdError, Overloaded, Permanent, Retryable, Superseded
from ingestd.model import ObjectRef
from ingestd.stores import _fast, _s3_small, s3
from ingestd.stores._s3_fast import address_of, fast_reader
from ingestd.stores.s3 import Reader, S3Store
from tests.aws.proxy import Ask, Cut, Drip, Fault, Hold, Proxy, Refuse, in_front_of
from tests.aws.servers import REGION, Aws

KEY = "AWSLogs/a.json.gz"
DATA = bytes(range(256)) * 12_000


@pytest.fixture
async def proxy(ministack: Aws) -> AsyncIterator[Proxy]:
    """A proxy before the main server."""
    async with in_front_of(ministack.url) as made:
        yield made


@pytest.fixture(params=["sdk", "fast", "fast, told that all is small"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Each reader in turn; the fast one also with notices that call every object small."""
    if request.param not in ("sdk", "fast"):
        monkeypatch.setattr(s3, "_should_be_small", lambda ref: True)
        return "fast"
    found: Reader = request.param
    return found


@pytest.fixture
async def store(ministack: Aws, proxy: Proxy, reader: Reader) -> AsyncIterator[S3Store]:
    """A store that reads through the proxy."""
    made = s3.build(msgspec.structs.replace(ministack.account, endpoint_url=proxy.url), reader=reader)
    yield made
    await made.close()


@pytest.fixture
async def small(ministack: Aws, proxy: Proxy) -> AsyncIterator[S3Store]:
    """A store that reads through the proxy, and small objects at once."""
    made = s3.build(msgspec.structs.replace(ministack.account, endpoint_url=proxy.url), reader="fast")
    yield made
    await made.close()


def reference(bucket: str, **fields: Any) -> ObjectRef:
    """The object that most tests read."""
    return ObjectRef(store="s3", bucket=bucket, key=KEY, **fields)


async def read(store: S3Store, ref: ObjectRef) -> bytes:
    """The whole object."""
    async with await store.open(ref) as opened:
        return b"".join([piece async for piece in opened.chunks()])


# --- what is read -------------------------------------------------------------------------------------------


async def test_identity_and_origin_name_bucket_and_key(aws: Aws, reader: Reader) -> None:
    """The identity has the etag of the answer; the origin is what events carry."""
    bucket = aws.bucket()
    etag = aws.put(bucket, KEY, b"x")["ETag"].strip('"')
    store = s3.build(aws.account, reader=reader)
    async with await store.open(reference(bucket)) as opened:
        assert opened.identity == f"s3://{bucket}/{KEY}#{etag}"
        assert opened.origin == {"aws_s3_bucket": bucket, "aws_s3_key": KEY}
    await store.close()


async def test_a_read_is_pinned_to_the_etag(aws: Aws, reader: Reader) -> None:
    """What was overwritten since its notice is not read by mistake."""
    bucket = aws.bucket()
    etag = aws.put(bucket, KEY, b"old")["ETag"]
    store = s3.build(aws.account, reader=reader)
    pinned = reference(bucket, etag=etag.strip('"'))
    assert await read(store, pinned) == b"old"
    aws.put(bucket, KEY, b"new")
    with pytest.raises(Superseded):
        await store.open(pinned)
    await store.close()


@pytest.mark.parametrize("then", ["overwritten", "deleted"])
async def test_the_version_of_the_notice_is_read_when_another_is_current(aws: Aws, reader: Reader, then: str) -> None:
    """Versioned buckets keep what was overwritten or deleted."""
    bucket = aws.bucket(versioned=True)
    put = aws.put(bucket, KEY, b"old")
    if then == "overwritten":
        aws.put(bucket, KEY, b"new")
    else:
        aws.client("s3").delete_object(Bucket=bucket, Key=KEY)
    store = s3.build(aws.account, reader=reader)
    assert await read(store, reference(bucket, etag=put["ETag"].strip('"'), version=put["VersionId"])) == b"old"
    await store.close()


async def test_the_version_is_not_asked_for_while_the_etag_is_current(
    ministack: Aws, store: S3Store, proxy: Proxy
) -> None:
    """So the permission to read versions is not needed for what was not overwritten."""
    bucket = ministack.bucket(versioned=True)
    put = ministack.put(bucket, KEY, b"x")
    await read(store, reference(bucket, etag=put["ETag"].strip('"'), version=put["VersionId"]))
    assert ["versionId" in seen.path for seen in proxy.operations("s3 GET")] == [False]


async def test_an_offset_at_the_end_reads_nothing(ministack: Aws, store: S3Store) -> None:
    """There may be nothing left to resume."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"0123")
    async with await store.open(reference(bucket), offset=4) as opened:
        assert opened.size == 4
        assert [piece async for piece in opened.chunks()] == []


async def test_a_listing_goes_on_over_pages(ministack: Aws, store: S3Store, proxy: Proxy) -> None:
    """Pages follow each other until the last."""
    bucket = ministack.bucket()
    for name in "abcde":
        ministack.put(bucket, name, b"x")
    proxy.rule = lambda seen: Ask({"max-keys": "2"}) if "list-type" in seen.path else None
    assert [entry.ref.key async for entry in store.list_objects(bucket, "")] == list("abcde")
    assert len(proxy.operations("s3 GET")) == 3


@pytest.mark.parametrize("pays", [True, False])
async def test_the_requester_pays_when_configured(ministack: Aws, proxy: Proxy, reader: Reader, pays: bool) -> None:
    """Such buckets refuse readers who do not say so."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"x")
    account = msgspec.structs.replace(ministack.account, endpoint_url=proxy.url)
    store = s3.build(account, requester_pays=pays, reader=reader)
    await read(store, reference(bucket))
    await store.close()
    assert proxy.seen[0].headers.get("x-amz-request-payer") == ("requester" if pays else None)


@pytest.mark.parametrize(
    ("key", "by_fast"), [("AWSLogs/a b+c=d.gz", True), ("ü/%2B//x", False), ("a/../b", False), ("~a", False)]
)
async def test_only_names_that_mean_the_same_to_all_are_read_by_the_fast_reader(
    ministack: Aws, proxy: Proxy, key: str, by_fast: bool
) -> None:
    """A name that a library would tidy up is another object's."""
    bucket = ministack.bucket()
    ministack.put(bucket, key, b"x")
    store = s3.build(msgspec.structs.replace(ministack.account, endpoint_url=proxy.url), reader="fast")
    assert await read(store, msgspec.structs.replace(reference(bucket), key=key)) == b"x"
    await store.close()
    assert [seen.headers["User-Agent"] == "ingestd" for seen in proxy.seen] == [by_fast]


@pytest.mark.parametrize(
    ("endpoint", "bucket", "address"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "logs", ("https://logs.s3.eu-central-1.amazonaws.com", True)),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "a", ("https://a.s3-fips.us-gov-west-1.amazonaws.com", True)),
        ("https://s3.cn-north-1.amazonaws.com.cn", "logs", ("https://logs.s3.cn-north-1.amazonaws.com.cn", True)),
        ("https://s3.eu-central-1.amazonaws.com", "my.logs", ("https://s3.eu-central-1.amazonaws.com", False)),
        ("http://127.0.0.1:9000", "logs", ("http://127.0.0.1:9000", False)),
        ("https://minio.example.com", "logs", ("https://minio.example.com", False)),
        ("https://amazonaws.com.example.com", "logs", ("https://amazonaws.com.example.com", False)),
    ],
)
def test_the_bucket_is_part_of_the_host_in_aws_alone(endpoint: str, bucket: str, address: tuple[str, bool]) -> None:
    """A server of one's own seldom has a name per bucket, and no certificate of AWS's fits a bucket with a dot."""
    assert address_of(endpoint, bucket) == address


@pytest.mark.parametrize(
    ("endpoint", "bundle", "bucket", "reads"),
    [
        ("https://s3.eu-central-1.amazonaws.com", "", "logs", True),
        ("https://s3.eu-central-1.amazonaws.com", "ca.pem", "logs", False),
        ("http://127.0.0.1:9", "ca.pem", "logs", True),
        ("http://127.0.0.1:9", "", "arn:aws:s3:eu-central-1:111122223333:accesspoint/logs", False),
    ],
)
async def test_what_only_the_sdk_knows_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, bundle: str, bucket: str, reads: bool
) -> None:
    """Certificates of one's own, and buckets that are none."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if bundle:
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    clients = Clients(Account(region=REGION, endpoint_url=endpoint))
    fast = fast_reader(clients, requester_pays=False)
    assert (await fast.store_of(bucket) is not None) == reads
    await clients.close()


# --- broken connections -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["sdk", "fast"])
async def test_a_broken_connection_is_resumed_where_it_broke(
    ministack: Aws, store: S3Store, proxy: Proxy, reader: Reader
) -> None:
    """By range, against the same etag; nothing is read again from the start."""
    bucket = ministack.bucket()
    etag = ministack.put(bucket, KEY, DATA)["ETag"]
    proxy.fail("s3 GET", Cut(after=1_000_000), Cut(after=1_500_000))
    assert await read(store, reference(bucket)) == DATA
    requests = [seen.headers for seen in proxy.operations("s3 GET")]
    starts = [int(headers["Range"].removeprefix("bytes=").rstrip("-")) for headers in requests[1:]]
    slack = _fast.PIECE_BYTES if reader == "fast" else 0  # it gathers a piece before it hands it on
    assert 1_000_000 - slack <= starts[0] <= 1_000_000
    assert starts[1] == starts[0] + 1_500_000
    assert [headers["If-Match"] for headers in requests[1:]] == [etag, etag]


@pytest.mark.parametrize("reader", ["sdk", "fast"])
async def test_a_read_is_not_resumed_in_other_content(ministack: Aws, store: S3Store, proxy: Proxy) -> None:
    """Half of the old and half of the new is nobody's content."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, DATA)
    proxy.fail("s3 GET", Cut(after=1_000_000))
    async with await store.open(reference(bucket)) as opened:
        ministack.put(bucket, KEY, DATA[::-1])
        with pytest.raises(Superseded):
            [piece async for piece in opened.chunks()]


@pytest.mark.parametrize("fault", [Cut(after=3), Refuse(503, "SlowDown"), Refuse(307, "TemporaryRedirect")])
async def test_a_small_object_that_does_not_come_whole_is_asked_for_again(
    ministack: Aws, small: S3Store, proxy: Proxy, fault: Fault
) -> None:
    """By the SDK, which knows what to do about it."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"0123456789")
    proxy.fail("s3 GET", fault)
    assert await read(small, reference(bucket, size=10)) == b"0123456789"
    agents = [seen.headers["User-Agent"].split("/")[0] for seen in proxy.operations("s3 GET")]
    assert agents == ["ingestd", "aiobotocore"]


async def test_a_notice_that_calls_a_large_object_small_is_not_believed(
    ministack: Aws, small: S3Store, proxy: Proxy
) -> None:
    """It is not taken whole, but in pieces as any other."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, DATA)
    async with await small.open(reference(bucket, size=10)) as opened:
        assert (opened.size, opened.whole) == (len(DATA), None)
        assert b"".join([piece async for piece in opened.chunks()]) == DATA


async def test_a_small_object_is_read_with_one_request(ministack: Aws, small: S3Store, proxy: Proxy) -> None:
    """Its body comes with the answer; connections are kept."""
    bucket = ministack.bucket()
    etag = ministack.put(bucket, KEY, b"0123456789")["ETag"].strip('"')
    for _ in range(3):
        async with await small.open(reference(bucket, size=10, etag=etag)) as opened:
            assert (opened.whole, opened.size, opened.identity) == (b"0123456789", 10, f"s3://{bucket}/{KEY}#{etag}")
            assert opened.modified is not None
    assert [seen.headers["User-Agent"] for seen in proxy.seen] == ["ingestd"] * 3


async def test_connections_that_break_at_once_end_the_read(ministack: Aws, store: S3Store, proxy: Proxy) -> None:
    """Without a byte between the breaks it is given up, to be tried again later."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, DATA)
    proxy.rule = lambda seen: Cut(after=0)
    with pytest.raises(Retryable, match=r"connections broke at byte 0") as caught:
        await read(store, reference(bucket))
    assert not isinstance(caught.value, AttemptFailed)


@pytest.mark.parametrize("fault", [Refuse(503, "SlowDown"), Refuse(500), Refuse(400, "RequestTimeout")])
async def test_what_fails_in_passing_is_tried_again_at_once(
    ministack: Aws, store: S3Store, proxy: Proxy, fault: Refuse
) -> None:
    """One bad answer does not send a message back to the queue."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"x")
    proxy.fail("s3 GET", fault)
    assert await read(store, reference(bucket)) == b"x"
    assert len(proxy.operations("s3 GET")) == 2


@pytest.mark.parametrize("size", [None, 1])
async def test_an_answer_that_does_not_come_is_asked_for_again(
    ministack: Aws, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    """The fast reader waits no longer than a while, and leaves the question to the SDK."""
    monkeypatch.setattr(_fast, "STALL_SECS", 0.3)
    monkeypatch.setattr(_s3_small, "STALL_SECS", 0.3)
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"x")
    store = s3.build(msgspec.structs.replace(ministack.account, endpoint_url=proxy.url), reader="fast")
    never = asyncio.Event()
    proxy.fail("s3 GET", Hold(never))
    assert await read(store, reference(bucket, size=size)) == b"x"
    await store.close()
    never.set()


async def test_a_body_that_stands_still_is_resumed(
    ministack: Aws, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest comes over another connection."""
    monkeypatch.setattr(_fast, "STALL_SECS", 1.0)
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, DATA)
    store = s3.build(msgspec.structs.replace(ministack.account, endpoint_url=proxy.url), reader="fast")
    proxy.fail("s3 GET", Drip(30.0))
    assert await read(store, reference(bucket)) == DATA
    assert len(proxy.operations("s3 GET")) == 2
    assert "Range" in proxy.operations("s3 GET")[1].headers
    await store.close()


# --- each error with its outcome ----------------------------------------------------------------------------

REFUSALS: list[tuple[Refuse, type[IngestdError], str, str]] = [
    (Refuse(404, "NoSuchKey"), Permanent, "not_found", "no such object"),
    (Refuse(404, "NoSuchVersion"), Permanent, "not_found", "no such object"),
    (Refuse(405, "MethodNotAllowed"), Permanent, "not_found", "no such object"),
    (Refuse(404, "NoSuchBucket"), Permanent, "no_bucket", "no such bucket"),
    (Refuse(412, "PreconditionFailed"), Superseded, "superseded", "overwritten"),
    (Refuse(403, "InvalidObjectState"), Permanent, "archived", "s3:RestoreObject"),
    (Refuse(403, "AccessDenied"), AttemptFailed, "forbidden", "permission s3:GetObject is missing"),
    (
        Refuse(403, "AccessDenied", "User: u is not authorized to perform: kms:Decrypt on resource: k"),
        AttemptFailed,
        "kms_forbidden",
        "permission kms:Decrypt",
    ),
    (Refuse(400, "KMS.DisabledException", "k is disabled."), AttemptFailed, "kms_key_unusable", "k is disabled"),
    (Refuse(301, "PermanentRedirect", region="us-west-2"), Permanent, "wrong_region", "us-west-2"),
    (Refuse(400, "AuthorizationHeaderMalformed", region="us-west-2"), Permanent, "wrong_region", "us-west-2"),
    (
        Refuse(400, "InvalidRequest", "The object was stored using a form of Server Side Encryption."),
        Permanent,
        "customer_key",
        "SSE-C",
    ),
    (Refuse(400, "SomethingNew"), AttemptFailed, "s3_error", "SomethingNew"),
]


@pytest.mark.parametrize(
    ("refusal", "kind", "reason", "text"), REFUSALS, ids=[f"{row[0].code} {row[2]}" for row in REFUSALS]
)
async def test_each_refusal_has_its_outcome(
    ministack: Aws, store: S3Store, proxy: Proxy, refusal: Refuse, kind: type[IngestdError], reason: str, text: str
) -> None:
    """The class says what to do next, the text names the object and what is missing."""
    bucket = ministack.bucket()
    proxy.rule = lambda seen: refusal
    with pytest.raises(kind, match=text) as caught:
        await store.open(reference(bucket))
    assert type(caught.value) is kind
    assert getattr(caught.value, "reason") == reason  # noqa: B009 - IngestdError itself has none
    assert f"s3://{bucket}/{KEY}" in str(caught.value)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refuse(503, "SlowDown"), Overloaded),
        (Refuse(500), Retryable),
        (Refuse(400, "ExpiredToken"), Retryable),
        (Refuse(403, "InvalidAccessKeyId"), Retryable),
    ],
)
async def test_what_is_not_the_objects_fault_is_never_counted(
    ministack: Aws, store: S3Store, proxy: Proxy, refusal: Refuse, kind: type[Retryable]
) -> None:
    """A busy service or expired credentials must not dead-letter anything."""
    proxy.rule = lambda seen: refusal
    with pytest.raises(kind) as caught:
        await store.open(reference(ministack.bucket()))
    assert type(caught.value) is kind


async def test_a_refused_version_names_its_own_permission(ministack: Aws, store: S3Store, proxy: Proxy) -> None:
    """Reading a version is another permission than reading the object."""
    proxy.rule = lambda seen: Refuse(403, "AccessDenied")
    with pytest.raises(AttemptFailed, match="s3:GetObjectVersion is missing"):
        await store.open(reference(ministack.bucket(), version="v1"))


async def test_a_server_that_is_not_there_is_tried_again_later(ministack: Aws, reader: Reader) -> None:
    """A refused connection is nobody's fault in particular."""
    store = s3.build(msgspec.structs.replace(ministack.account, endpoint_url="http://127.0.0.1:9"), reader=reader)
    with pytest.raises(Retryable):
        await store.open(reference("bucket"))
    await store.close()


# --- doctor -------------------------------------------------------------------------------------------------


async def test_check_names_the_permission_that_is_missing(ministack: Aws, store: S3Store, proxy: Proxy) -> None:
    """Listing and reading are tried for themselves."""
    bucket = ministack.bucket()
    ministack.put(bucket, KEY, b"x")
    assert [check.ok for check in await store.check(bucket, "")] == [True, True]
    proxy.rule = lambda seen: None if "list-type" in seen.path else Refuse(403, "AccessDenied")
    assert [check.missing_permission for check in await store.check(bucket, "")] == ["", "s3:GetObject"]
    proxy.rule = lambda seen: Refuse(403, "AccessDenied")
    assert [check.missing_permission for check in await store.check(bucket, "")] == ["s3:ListBucket", ""]
