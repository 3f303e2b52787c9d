"""Requests to one service, signed as the SDK would sign them and sent without its machinery.

The SDK takes about a millisecond of CPU for a request, most of it to find out once more what does not change. For the
few that are made all the time its credentials, its regions and its addresses are used, and nothing else of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

from ingestd.cloud.aws import CONNECTIONS, Clients
from ingestd.cloud.aws_sign import Signer
from ingestd.cloud.proxies import proxy_for

CONNECT_SECS = 10.0
NO_BODY = sha256(b"").hexdigest()
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address:
    """Where requests go: one host, by one scheme, below one path."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = None if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.port
        self.host = f"{name}:{port}" if port else f"{name}"
        """As in the header that is signed."""
        self.root = f"{parts.scheme}://{self.host}"
        self.path = parts.path.rstrip("/")
        self.proxy = proxy_for(endpoint)


def path_in_signatures(address: Address) -> str:
    """The path of the address itself, as services sign it: tidied up and encoded once more. S3 signs what is sent."""
    from botocore.utils import normalize_url_path

    return quote(normalize_url_path(f"{address.path}/"), safe="/~")


class SignedHttp:
    """See the module."""

    def __init__(self, clients: Clients, service: str, read_secs: float) -> None:
        """An answer that takes longer than `read_secs`, body included, is given up."""
        self._clients = clients
        self._service = service
        self._read_secs = read_secs
        self._session: Any = None
        self._signer: Signer | None = None
        self._url: Callable[[str], Any]
        self._opening = asyncio.Lock()
        self.endpoint = ""
        """Where the SDK would go; known once it is open."""

    async def open(self) -> None:
        """To be called before the first request. Idempotent. Raises what making the SDK's client raises; `OSError`
        when a file of certificates of one's own cannot be read."""
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
        from yarl import URL

        async with self._opening:
            if self._session is not None:
                return
            place = (await self._clients.get(self._service)).meta
            self.endpoint = place.endpoint_url
            self._signer = Signer(self._service, place.region_name)
            self._url = partial(URL, encoded=True)
            self._session = ClientSession(
                connector=TCPConnector(limit=CONNECTIONS, ssl=await self._clients.tls() or True),
                timeout=ClientTimeout(total=self._read_secs, sock_connect=CONNECT_SECS),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "ingestd"},
            )

    @property
    def is_open(self) -> bool:
        """Whether requests may be made."""
        return self._session is not None

    async def request(
        self, method: str, to: Address, path: str, headers: dict[str, str], body: bytes = b"", signed_as: str = ""
    ) -> AbstractAsyncContextManager[Any]:
        """The answer of aiohttp, to be entered; nothing is tried twice, nor followed elsewhere.

        `path` is encoded as it is sent, and begins with a slash; `signed_as` is how the service writes all of the
        path, if that is not how it is sent. Raises `Retryable` when there are no credentials.
        """
        assert self._signer is not None
        path = to.path + path
        target = f"{method}\n{signed_as or path}\n"
        headers = {"Host": to.host, **headers}
        digest = sha256(body).hexdigest() if body else NO_BODY
        credentials = await self._clients.credentials()
        signed = self._signer.signed(target, headers, digest, credentials, datetime.now(UTC))
        answer: AbstractAsyncContextManager[Any] = self._session.request(
            method,
            self._url(to.root + path),
            data=body or None,
            headers=signed,
            proxy=to.proxy,
            allow_redirects=False,
        )
        return answer

    async def close(self) -> None:
        """Idempotent. What is opening meanwhile is closed as well."""
        async with self._opening:
            session, self._session = self._session, None
        if session is not None:
            await session.close()
