"""Calls of AWS's JSON protocol without the SDK's machinery, for the few that are made all the time.

Errors are the SDK's own classes, so that whoever handles them need not know who made the call.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ingestd.cloud.aws import Clients
from ingestd.cloud.aws_http import Address, SignedHttp, path_in_signatures

READ_SECS = 60.0
_decode = msgspec.json.decode


class JsonCalls:
    """Calls of one service, for one account."""

    def __init__(self, clients: Clients, service: str, target: str) -> None:
        """`target` is the first part of the header that names the operation, such as `AmazonSQS`."""
        self._http = SignedHttp(clients, service, READ_SECS)
        self._target = target
        self._address: Address | None = None
        self._signed_as = ""
        """The path of all calls, as their signatures have it."""

    async def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """One request, tried once. `operation` is spelled as AWS spells it. Raises what the SDK or aiohttp would."""
        if self._address is None:
            await self._open()
        assert self._address is not None
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{self._target}.{operation}"}
        body = msgspec.json.encode(request)
        async with await self._http.request("POST", self._address, "/", headers, body, self._signed_as) as answer:
            data = await answer.read()
            if answer.status == 200:
                found: dict[str, Any] = _decode(data) if data else {}
                return found
            raise _error(operation, answer.status, answer.headers, data)

    async def _open(self) -> None:
        await self._http.open()
        self._address = Address(self._http.endpoint)
        self._signed_as = path_in_signatures(self._address)

    async def close(self) -> None:
        """Idempotent."""
        self._address = None
        await self._http.close()


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
