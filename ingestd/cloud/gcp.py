"""Google Cloud: credentials, channels, and what its errors mean. The SDK is imported when it is first needed.

Retrying is ours. Without `credentials`, Application Default Credentials say who we are: the file that
`GOOGLE_APPLICATION_CREDENTIALS` names (a service account's key, or the configuration of a workload identity
federation), the metadata server of a machine or pod, a developer's `gcloud auth`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ingestd.errors import ConfigError, IngestdError, Overloaded, Permanent, Problem, Retryable

REFUSED_RETRY_SECS = 30.0
"""Pause after a refusal, which may pass: roles take effect late, and somebody may be mending them."""
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
PUBSUB = "https://pubsub.googleapis.com"
STORAGE = "https://storage.googleapis.com"
MONITORING = "https://monitoring.googleapis.com"
LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes. A pull may bring many messages of up to 10 MB."""
CONNECT_SECS = 10.0
READ_SECS = 60.0
CONNECTIONS = 64


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """As whom, and where."""

    credentials: Callable[[], str] | None = None
    """Text of a credentials file. Read when a client is made and when we are refused; may block."""
    impersonate: str | None = None
    """Service account to act as."""
    pubsub_endpoint: str = PUBSUB
    storage_endpoint: str = STORAGE
    """To an address with `http:` nothing secret is sent: servers for tests want none."""


class Clients:
    """The channel to Pub/Sub and the session with Cloud Storage, each made when it is first asked for."""

    def __init__(self, account: Account, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._account = account
        self._clock = clock
        self._made_of: str | None = None
        self._credentials: Any = None
        self._channel: Any = None
        self._session: Any = None
        self._looked_at = -REFUSED_RETRY_SECS
        self._making = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def channel(self) -> Any:
        """A gRPC channel to Pub/Sub. Raises `ConfigError` or `Retryable` when there are no credentials."""
        if self._channel is None:
            async with self._making:
                if self._channel is None:
                    self._channel = await self._open_channel()
        return self._channel

    async def _open_channel(self) -> Any:
        import grpc
        from google.api_core import grpc_helpers_async

        parts = urlsplit(self._account.pubsub_endpoint)
        options = [
            ("grpc.max_receive_message_length", LARGEST_ANSWER),
            ("grpc.max_send_message_length", LARGEST_ANSWER),
            ("grpc.keepalive_time_ms", 30_000),
        ]
        if parts.scheme == "http":
            channel = grpc.aio.insecure_channel(parts.netloc, options=options)
        else:
            target = parts.netloc if parts.port else f"{parts.netloc}:443"
            channel = grpc_helpers_async.create_channel(
                target, credentials=await self._signed(), scopes=SCOPES, options=options
            )
        self._closing.push_async_callback(channel.close)
        return channel

    async def session(self) -> Any:
        """An HTTP session, for Cloud Storage above all; `headers` says who we are."""
        if self._session is None:
            from aiohttp import ClientSession, ClientTimeout, TCPConnector

            timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECS, sock_read=READ_SECS)
            # what is stored compressed stays so: the decoder bounds what it becomes
            self._session = ClientSession(
                connector=TCPConnector(limit=CONNECTIONS), timeout=timeout, auto_decompress=False
            )
            self._closing.push_async_callback(self._session.close)
        return self._session

    async def headers(self, endpoint: str = "") -> dict[str, str]:
        """Who we are, for a request to this address, or to Cloud Storage. Raises `ConfigError` or `Retryable`."""
        if (endpoint or self._account.storage_endpoint).startswith("http:"):
            return {}
        return {"Authorization": f"Bearer {await self.token()}"}

    async def token(self) -> str:
        """An access token that is good for some minutes."""
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            async with self._making:
                credentials = await self._signed()
                if not credentials.valid:
                    await asyncio.to_thread(_refresh, credentials)
        return str(credentials.token)

    async def _signed(self) -> Any:
        if self._credentials is None:
            require_sdk()
            self._made_of = await asyncio.to_thread(self._text)
            self._credentials = await asyncio.to_thread(credentials_of, self._account, self._made_of)
        return self._credentials

    def _text(self) -> str | None:
        return self._account.credentials() if self._account.credentials is not None else None

    async def refused(self) -> None:
        """We are not let in: read the credentials again, at most every half minute. When they are others now, new
        clients are made; those in use are closed at the end."""
        if self._account.credentials is None or self._clock() - self._looked_at < REFUSED_RETRY_SECS:
            return
        self._looked_at = self._clock()
        try:
            now = await asyncio.to_thread(self._text)
        except IngestdError:
            return  # what was refused is told by the caller; the next refusal looks again
        if now != self._made_of:
            self._credentials = self._channel = None

    async def close(self) -> None:
        """Idempotent."""
        self._credentials = self._channel = self._session = None
        await self._closing.aclose()


def require_sdk() -> None:
    """Raises `ConfigError` when the SDK is not installed."""
    try:
        import google.auth.transport.requests
        import google.pubsub_v1  # noqa: F401 - only whether they are there
    except ModuleNotFoundError:
        hint = "pip install 'ingestd[gcp]'"
        raise ConfigError([Problem("Google Cloud needs its Pub/Sub and auth packages", hint=hint)]) from None


def credentials_of(account: Account, text: str | None) -> Any:
    """Who we are, by the text of a credentials file or as the surroundings say. Blocks.

    Raises `ConfigError` for credentials that cannot be read, which it does not quote; `Retryable` without any."""
    import google.auth
    from google.auth import exceptions, impersonated_credentials

    try:
        if text is None:
            found, _ = google.auth.default(scopes=SCOPES)
        else:
            found = _of_document(_document(text))
    except exceptions.DefaultCredentialsError as error:
        if text is not None:
            raise _unusable() from None
        raise Retryable(f"there are no Google credentials: {told(error)}", retry_after=REFUSED_RETRY_SECS) from error
    except (exceptions.RefreshError, exceptions.TransportError) as error:  # some ask for a token to be made
        raise _no_token(error) from error
    except (exceptions.GoogleAuthError, ValueError, TypeError, KeyError):
        raise _unusable() from None
    if account.impersonate is not None:
        found = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            found, account.impersonate, target_scopes=list(SCOPES)
        )
    return found


def _of_document(document: dict[str, Any]) -> Any:
    """The two kinds that a daemon is given. Others are those of people, or run programs."""
    from google.auth import aws, identity_pool
    from google.oauth2 import service_account

    kind = document.get("type")
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            document, scopes=SCOPES
        )
    if kind != "external_account":
        raise _unusable()
    is_aws = str(document.get("subject_token_type")).endswith("aws4_request")
    module: Any = aws if is_aws else identity_pool
    return module.Credentials.from_info(document, scopes=list(SCOPES))


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _unusable()
    return document


def _unusable() -> ConfigError:
    hint = "a service account's key, or the configuration of a workload identity federation"
    return ConfigError([Problem("the Google credentials are not the JSON text of a usable file", hint=hint)])


def _refresh(credentials: Any) -> None:
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())
    except exceptions.GoogleAuthError as error:
        raise _no_token(error) from error


def _no_token(error: Exception) -> Retryable:
    return Retryable(f"Google does not give us a token: {told(error)}", retry_after=REFUSED_RETRY_SECS)


# --- errors -------------------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    """The error in one line."""
    details = getattr(error, "details", None)
    text = str(details() if callable(details) else error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:300]


def code_of(error: BaseException) -> str:
    """gRPC's name for what went wrong, such as `NOT_FOUND`; empty for what is no answer."""
    code = getattr(error, "code", None)
    found = code() if callable(code) else None
    return str(getattr(found, "name", ""))


def rpc_failure(error: Exception, permission: str, role: str, what: str) -> IngestdError:
    """What the failure of a call to Pub/Sub means, which needed this permission."""
    if isinstance(error, IngestdError):
        return error
    code = code_of(error)
    if code == "NOT_FOUND":
        return Permanent(f"{what}: does not exist", reason="no_subscription")
    if code == "PERMISSION_DENIED":
        text = f"{what}: not allowed; the permission {permission} is missing, which the role {role} has"
        return Retryable(text, retry_after=REFUSED_RETRY_SECS)
    if code == "UNAUTHENTICATED":
        return Retryable(
            f"{what}: Google does not take our credentials: {told(error)}", retry_after=REFUSED_RETRY_SECS
        )
    if code == "RESOURCE_EXHAUSTED":
        return Overloaded(f"{what}: is asked to slow down, or a quota is used up: {told(error)}")
    return Retryable(f"{what}: {code or type(error).__name__}: {told(error)}")


def refused_ids(error: BaseException) -> dict[str, str]:
    """Acknowledgement id → why it was refused, of a call about a subscription that delivers exactly once."""
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    metadata = getattr(error, "trailing_metadata", lambda: None)() or ()
    refused: dict[str, str] = {}
    for name, value in metadata:
        if name != "grpc-status-details-bin":
            continue
        try:
            details = status_pb2.Status.FromString(value).details
        except DecodeError:
            continue
        for detail in details:
            info = error_details_pb2.ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                refused |= dict(info.metadata)
    return refused
