"""Calls of AWS's JSON protocol without the SDK's machinery, for the few that are made all the time.

The SDK takes a millisecond of CPU for a call, most of it to find out once more what does not change. Here its
credentials and its way to sign are used, and nothing else of it. Errors are the SDK's own classes, so that whoever
handles them need not know who made the call.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from ingestd.cloud.aws import CONNECTIONS, Clients
from ingestd.cloud.aws_sign import Signer

READ_SECS = 60.0
CONNECT_SECS = 10.0
_decode = msgspec.json.decode


class JsonCalls:
    """Calls of one service, for one account."""

    def __init__(self, clients: Clients, service: str, target: str) -> None:
        """`target` is the first part of the header that names the operation, such as `AmazonSQS`."""
        self._clients = clients
        self._service = service
        self._target = target
        self._session: Any = None
        self._url = ""
        self._signer: Signer | None = None
        self._proxy: str | None = None
        self._opening = asyncio.Lock()

    async def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request, tried once. `operation` is spelled as AWS spells it. Raises what the SDK or aiohttp would."""
        if self._session is None:
            await self._open()
        body = msgspec.json.encode(request)
        headers = await self._signed(operation, body)
        async with self._session.post(self._url, data=body, headers=headers, proxy=self._proxy) as answer:
            data = await answer.read()
            if answer.status == 200:
                found: dict[str, Any] = _decode(data) if data else {}
                return found
            raise _error(operation, answer.status, answer.headers, data)

    async def _open(self) -> None:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        async with self._opening:
            if self._session is not None:
                return
            place = (await self._clients.get(self._service)).meta
            self._url = place.endpoint_url.rstrip("/") + "/"
            self._signer = Signer(self._url, self._service, place.region_name)
            connector = TCPConnector(limit=CONNECTIONS, ssl=await self._clients.tls() or True)
            timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECS, sock_read=READ_SECS)
            self._session = ClientSession(connector=connector, timeout=timeout, cookie_jar=DummyCookieJar())
            self._proxy = _proxy_for(self._url)  # once: aiohttp would look for it in a thread at each call

    async def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{self._target}.{operation}",
            "User-Agent": "ingestd",
        }
        credentials = await self._clients.credentials()
        assert self._signer is not None
        return self._signer.signed(headers, body, credentials, datetime.now(UTC))

    async def close(self) -> None:
        """Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _error(operation: str, status: int, headers: Any, data: bytes) -> Exception:
    """The SDK's error for an answer that is none. The header has the code that older protocols had, and wins."""
    from botocore.exceptions import ClientError

    try:
        found = _decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        found = {}
    code = str(found.get("__type", status)).rpartition("#")[2]
    code = headers.get("x-amzn-query-error", "").partition(";")[0] or code
    message = str(found.get("message", found.get("Message", "")))
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = ClientError(answer, operation)
    return error
