"""S3 as obstore reads it: where the SDK would go, with the SDK's credentials."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingestd.cloud import aws
from ingestd.stores._fast import FastReader, NotForFast, client_options, retry_config

if TYPE_CHECKING:
    from obstore.store import S3Credential

CREDENTIALS_SECS = 600.0
"""How long obstore may use what it was given. It asks again five minutes before that; the SDK, which renews
credentials ten minutes before their end, never gives away any that have less time left."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_AWS_HOST = re.compile(r"(?:^|\.)amazonaws\.com(?:\.cn)?$")


def fast_reader(clients: aws.Clients, *, requester_pays: bool) -> FastReader:
    """A reader for the buckets of an account."""

    async def credentials() -> S3Credential:
        found = await clients.credentials()
        expires = datetime.now(UTC) + timedelta(seconds=CREDENTIALS_SECS)
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": expires,
        }

    async def make(bucket: str) -> Any:
        from obstore.store import S3Store

        if not is_plain_bucket(bucket):
            raise NotForFast("its name is not that of a plain bucket")
        place = (await clients.get("s3")).meta
        endpoint, by_host = address_of(place.endpoint_url, bucket)
        if endpoint.startswith("https:") and await clients.has_own_authority():
            raise NotForFast("the SDK was given certificates that obstore does not know of")
        return S3Store(
            bucket,
            endpoint=endpoint,
            virtual_hosted_style_request=by_host,
            region=place.region_name,
            request_payer=requester_pays,
            credential_provider=credentials,
            client_options={**client_options(), "allow_http": endpoint.startswith("http:")},
            retry_config=retry_config(),
        )

    return FastReader(make)


def is_plain_bucket(name: str) -> bool:
    """Whether it is a bucket's own name, and no access point or the like."""
    return _BUCKET.fullmatch(name) is not None


def address_of(endpoint_url: str, bucket: str) -> tuple[str, bool]:
    """Where requests go, and whether the bucket is part of the host: in AWS, unless no certificate would fit."""
    parts = urlsplit(endpoint_url)
    if "." in bucket or not _AWS_HOST.search(parts.hostname or ""):
        return endpoint_url, False
    return f"{parts.scheme}://{bucket}.{parts.netloc}", True
