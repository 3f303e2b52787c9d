"""Small objects of S3, taken whole with their answer: by aiohttp, in the event loop itself.

What obstore reads has to come from its threads into the loop, twice for each object (the answer, and its body). That
costs as much CPU as a small request itself; for a larger one it is nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from ingestd.cloud import aws
from ingestd.cloud.aws_http import NO_BODY, Address, SignedHttp
from ingestd.stores._fast import BUCKETS, SMALL_BYTES, STALL_SECS, FastAnswer, FastBody, is_plain_key
from ingestd.stores._s3_fast import address_of, is_plain_bucket


class SmallObjects:
    """Asks for objects that should be small. What does not go well it leaves to the SDK."""

    def __init__(self, clients: aws.Clients, *, requester_pays: bool) -> None:
        self._http = SignedHttp(clients, "s3", STALL_SECS)
        self._headers = {"x-amz-content-sha256": NO_BODY}
        if requester_pays:
            self._headers["x-amz-request-payer"] = "requester"
        self._places: OrderedDict[str, tuple[Address, str]] = OrderedDict()
        """Bucket → where its keys are, and the path before them."""

    async def read(self, bucket: str, key: str, etag: str | None) -> FastAnswer | None:
        """The object, pinned to the etag; None when the SDK is to be asked, also because it is not small at all."""
        if not is_plain_bucket(bucket) or not is_plain_key(key):
            return None
        headers = self._headers if etag is None else {**self._headers, "If-Match": f'"{etag}"'}
        try:
            if not self._http.is_open:
                await self._http.open()
            address, before = self._place(bucket)
            async with await self._http.request("GET", address, f"{before}/{encoded(key)}", headers) as answer:
                return await _whole(f"{bucket}/{key}", answer)
        except Exception:  # noqa: BLE001 - the SDK finds out what it is, and says it better
            return None

    def _place(self, bucket: str) -> tuple[Address, str]:
        place = self._places.get(bucket)
        if place is not None:
            self._places.move_to_end(bucket)
        else:
            endpoint, by_host = address_of(self._http.endpoint, bucket)
            place = self._places[bucket] = (Address(endpoint), "" if by_host else f"/{bucket}")
            while len(self._places) > BUCKETS:
                self._places.popitem(last=False)
        return place

    async def close(self) -> None:
        """Let go of all connections. Idempotent."""
        await self._http.close()


def encoded(key: str) -> str:
    """The key in a path, as S3 wants it signed: all encoded but letters, digits and these."""
    return quote(key, safe="/-._~")


async def _whole(url: str, answer: Any) -> FastAnswer | None:
    length = answer.content_length
    if answer.status != 200 or length is None or length > SMALL_BYTES:
        return None
    headers = answer.headers
    etag = headers["ETag"].strip('"')
    if not etag.isascii():
        return None  # bytes that are no text would become part of an identity, which is written down
    modified = _moment(headers["Last-Modified"])
    data: bytes = await answer.read()
    return FastAnswer(etag=etag, length=length, modified=modified, body=FastBody(url, length, None, data), whole=data)


@lru_cache(maxsize=256)
def _moment(http_date: str) -> datetime:
    return parsedate_to_datetime(http_date)
