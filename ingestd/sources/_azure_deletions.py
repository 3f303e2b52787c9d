"""Deleting the messages of an Azure queue without the SDK's machinery.

There is one call for each message, and the SDK takes a millisecond of CPU for it, most of what the parent does for a
small blob. Only what goes well is done here; whatever else happens is left to the SDK, which is asked to delete the
message once more, finds out what is wrong, and says it as for every other call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ingestd.cloud import azure
from ingestd.cloud.azure_sign import signed
from ingestd.cloud.proxies import proxy_for

CONNECT_SECS = 10.0
ANSWER_SECS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Way:
    """Where requests go now, and who makes them."""

    client: Any
    """The SDK's client of the queue, whose address and account these are."""
    address: str
    proxy: str | None
    credential: Mapping[str, Any] = field(repr=False)

    def leads_to(self, client: Any) -> bool:
        """Whether it is still the way to what this client is for."""
        return client is self.client and datetime.now(UTC) < self.credential["expires_at"]


class Deletions:
    """Deletes messages of one queue."""

    def __init__(self, clients: azure.Clients, queue: str, connections: int) -> None:
        self._clients = clients
        self._queue = queue
        self._connections = connections
        self._session: Any = None
        self._way: _Way | None = None
        self._looking = asyncio.Lock()

    async def delete(self, message_id: str, receipt: str) -> bool:
        """Whether the message was deleted; False when the SDK is to be asked."""
        try:
            return await self._delete(await self._found_way(), message_id, receipt)
        except Exception:  # noqa: BLE001 - the SDK finds out what it is, and says it better
            return False

    async def _found_way(self) -> _Way:
        client = await self._clients.queue(self._queue)
        if self._way is None or not self._way.leads_to(client):
            async with self._looking:
                if self._way is None or not self._way.leads_to(client):
                    self._way = await self._look(client)
        return self._way

    async def _look(self, client: Any) -> _Way:
        if self._session is None:
            self._session = self._connected()
        address = client.url.partition("?")[0]
        credential = await self._clients.credential_in_use()
        return _Way(client=client, address=address, proxy=proxy_for(address), credential=credential)

    def _connected(self) -> Any:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        return ClientSession(
            connector=TCPConnector(limit=self._connections),
            timeout=ClientTimeout(total=ANSWER_SECS, sock_connect=CONNECT_SECS),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": "ingestd"},
        )

    async def _delete(self, way: _Way, message_id: str, receipt: str) -> bool:
        from yarl import URL

        url = f"{way.address}/messages/{quote(message_id, safe='')}"
        query = {"popreceipt": receipt}
        account, path, now = way.client.account_name, urlsplit(url).path, datetime.now(UTC)
        headers, shown = signed("DELETE", account, path, query, way.credential, now)
        async with self._session.delete(
            URL(f"{url}?{urlencode(query, quote_via=quote)}{'&' * bool(shown)}{shown}", encoded=True),
            headers=headers,
            proxy=way.proxy,
            allow_redirects=False,
        ) as answer:
            return bool(answer.status == 204)

    async def close(self) -> None:
        """Idempotent."""
        session, self._session, self._way = self._session, None, None
        if session is not None:
            await session.close()
