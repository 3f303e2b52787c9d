"""The server that plays Cloud Storage, asked by Google's own client: it behaves as the service does."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.gcp.storage import Storage, running


@pytest.fixture
def server() -> Iterator[Storage]:
    """A new server."""
    with running() as made:
        yield made


@pytest.fixture
def bucket(server: Storage) -> Iterator[Any]:
    """A bucket, by Google's client."""
    anonymous: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client(project="p", credentials=anonymous, client_options={"api_endpoint": server.url})
    yield client.create_bucket("logs-bucket")
    client.close()


def test_what_is_uploaded_is_downloaded(bucket: Any) -> None:
    """In one piece and in several, whatever the name."""
    bucket.blob("a b/ü+%.log").upload_from_string(b"\x00hello\r\n")
    assert bucket.blob("a b/ü+%.log").download_as_bytes() == b"\x00hello\r\n"
    big = bytes(range(256)) * 3_000
    blob = bucket.blob("big", chunk_size=262_144)
    blob.upload_from_string(big)
    assert bucket.blob("big").download_as_bytes() == big
    assert bucket.get_blob("big").size == len(big)


def test_a_range_is_that_part(bucket: Any) -> None:
    """First and last byte included."""
    bucket.blob("a").upload_from_string(b"0123456789")
    assert bucket.blob("a").download_as_bytes(start=3, end=5) == b"345"


def test_generations_tell_contents_apart(server: Storage, bucket: Any) -> None:
    """An overwritten one is gone, unless the bucket keeps versions."""
    bucket.blob("a").upload_from_string(b"one")
    first = bucket.get_blob("a").generation
    bucket.blob("a").upload_from_string(b"two")
    with pytest.raises(PreconditionFailed):
        bucket.blob("a").download_as_bytes(if_generation_match=first)
    with pytest.raises(NotFound):
        bucket.blob("a", generation=first).download_as_bytes()
    server.versioned = True
    second = bucket.get_blob("a").generation
    bucket.blob("a").upload_from_string(b"three")
    assert bucket.blob("a", generation=second).download_as_bytes() == b"two"


def test_gzip_is_expanded_for_those_who_do_not_take_it(bucket: Any) -> None:
    """And comes as it is stored to those who do."""
    packed = gzip.compress(b"hello")
    blob = bucket.blob("a")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    assert bucket.blob("a").download_as_bytes() == b"hello"
    assert bucket.blob("a").download_as_bytes(raw_download=True) == packed


def test_a_listing_is_in_order_and_in_pages(bucket: Any) -> None:
    """By prefix, from a name on."""
    for name in ("p/b", "p/a", "q/a", "p/c"):
        bucket.blob(name).upload_from_string(b"x")
    names = [blob.name for blob in bucket.client.list_blobs(bucket, prefix="p/", page_size=2)]
    assert names == ["p/a", "p/b", "p/c"]
    assert [blob.name for blob in bucket.client.list_blobs(bucket, start_offset="p/c")] == ["p/c", "q/a"]


def test_what_is_not_there_is_not_found(bucket: Any) -> None:
    """Object and bucket; a deleted one as well."""
    bucket.blob("a").upload_from_string(b"x")
    bucket.blob("a").delete()
    with pytest.raises(NotFound):
        bucket.blob("a").download_as_bytes()
    with pytest.raises(NotFound):
        bucket.client.bucket("no-such-bucket").blob("a").download_as_bytes()
