"""Azure: accounts, credentials, and what its errors mean. The SDK is imported when the first client is made.

Retrying is ours: the SDK is told to try once. Without a connection string or a SAS, `DefaultAzureCredential` finds
who we are: environment, workload identity of a Kubernetes service account, managed identity, a developer's `az
login`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ingestd.cloud.proxies import proxy_for
from ingestd.errors import AttemptFailed, ConfigError, IngestdError, Overloaded, Permanent, Problem, Retryable

Service = Literal["blob", "queue"]

REFUSED_RETRY_SECS = 30.0
"""Pause after a refusal, which may pass: role assignments take effect late, and somebody may be mending them."""
PUBLIC_SUFFIX = "core.windows.net"
TOKEN_SCOPE = "https://storage.azure.com/.default"  # noqa: S105 - what a token is for, not a token
CREDENTIAL_SECS = 60.0
"""How long obstore keeps what it was given. The SDK renews tokens in time, and is asked that often."""
RANGE_BYTES = 4 * 1024 * 1024
"""Most that one request for a blob's bytes asks for: the SDK holds an answer whole."""

_NAME = re.compile(r"[a-z0-9]{3,24}")
"""What becomes part of a host name must not end it: whoever sends messages would get our token."""
_AUTHORITIES = {
    "core.usgovcloudapi.net": "https://login.microsoftonline.us",
    "core.chinacloudapi.cn": "https://login.partner.microsoftonline.cn",
}
_BAD_CREDENTIALS = frozenset(
    {
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
        "KeyBasedAuthenticationNotPermitted",
        "PublicAccessNotPermitted",
        "AuthorizationSourceIPMismatch",
        "AuthorizationProtocolMismatch",
        "AuthorizationServiceMismatch",
        "AuthorizationResourceTypeMismatch",
        "AccountIsDisabled",
    }
)
_DENIED = frozenset({"AuthorizationPermissionMismatch", "AuthorizationFailure", "InsufficientAccountPermissions"})
_ABSENT = ("unavailable", "not found on path", "not installed", "could not be found", "package to be installed")
"""What ways of signing in say that nobody has set up here."""
_PASSING = frozenset({"InternalError", "OperationTimedOut", "ServerTimeout"})


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """As whom, and where."""

    account_url: str | None = None
    """Address of the queue service; None when the connection string has it."""
    connection_string: Callable[[], str] | None = None
    """Read when clients are made and when the service refuses our credentials; may block."""
    sas_token: Callable[[], str] | None = None
    """The same for a shared access signature."""
    client_id: str | None = None
    """Of the managed or workload identity to use, where there are several."""
    tenant_id: str | None = None
    authority: str | None = None
    """Where tokens come from; by default that of the cloud which the address belongs to."""
    cloud: str | None = None
    """What follows `<account>.blob.`, where no address tells it."""
    blob_endpoints: Mapping[str, str] = {}
    """Account name → address of its blob service, where it is not `https://<name>.blob.<suffix>`."""

    @property
    def suffix(self) -> str | None:
        """What follows `<account>.queue.` in the address: tells the cloud. None for an address of another form."""
        if self.account_url is None:
            return self.cloud
        _, found, suffix = (urlsplit(self.account_url).hostname or "").partition(".queue.")
        return suffix if found else None


class _Signed(msgspec.Struct, frozen=True):
    """What a connection string says."""

    name: str = ""
    key: str = ""
    sas: str = ""
    endpoints: dict[str, str] = {}


class Clients:
    """Clients of the services of one or more storage accounts, each made when it is first asked for."""

    def __init__(self, account: Account, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._account = account
        self._clock = clock
        self._clients: dict[tuple[Service, str], Any] = {}
        self._queues: dict[str, tuple[Any, Any]] = {}
        """Name → the service's client, and that of the queue, which ends with it."""
        self._signed_by = _Signed()
        """The shared secret that the clients were made with."""
        self._token: Any = None
        self._looked_at = -REFUSED_RETRY_SECS
        self._making = asyncio.Lock()
        self._closing = AsyncExitStack()

    async def queue(self, name: str) -> Any:
        """The client of a queue of the account; one for all calls, as each has much of its own. Raises `ConfigError`
        without the SDK."""
        service = await self._get("queue", "")
        made_by, queue = self._queues.get(name, (None, None))
        if made_by is not service:
            queue = service.get_queue_client(name)
            self._queues[name] = service, queue
        return queue

    async def blobs(self, name: str) -> Any:
        """The client of the blob service of the account of this name. Raises `Permanent` for an account that
        we have no address or no credentials for."""
        return await self._get("blob", name)

    async def blob_address(self, name: str) -> str:
        """Where the blobs of the account of this name are. Raises like `blobs`."""
        return _address(self._account, await asyncio.to_thread(self._signed), "blob", name)

    async def credential_of_now(self) -> dict[str, Any]:
        """How to sign in for the next minute, in the form of obstore. Reads the shared secret."""
        return await self._as_of_now(await asyncio.to_thread(self._signed))

    async def credential_in_use(self) -> dict[str, Any]:
        """The same, by the shared secret that the clients were made with: it is read again when it is refused, and
        when it cannot be read meanwhile, nothing stops."""
        return await self._as_of_now(self._signed_by)

    async def _as_of_now(self, signed: _Signed) -> dict[str, Any]:
        expires = datetime.now(UTC) + timedelta(seconds=CREDENTIAL_SECS)
        if signed.sas:
            return {"sas_token": signed.sas.lstrip("?"), "expires_at": expires}
        if signed.key:
            return {"access_key": signed.key, "expires_at": expires}
        found = await self._credential(signed).get_token(TOKEN_SCOPE)
        return {"token": found.token, "expires_at": min(expires, datetime.fromtimestamp(found.expires_on, UTC))}

    async def _get(self, service: Service, name: str) -> Any:
        found = self._clients.get((service, name))
        if found is None:
            async with self._making:
                found = self._clients.get((service, name))
                if found is None:
                    found = self._clients[service, name] = await self._make(service, name)
        return found

    async def _make(self, service: Service, name: str) -> Any:
        require_sdk()
        signed = await asyncio.to_thread(self._signed)
        if signed != self._signed_by:
            self._clients.clear()  # those made with another secret would not be noticed when that is refused
            self._signed_by = signed
        address = _address(self._account, signed, service, name)
        credential = self._credential(signed)
        try:
            client = _service_client(service, address, credential)
        except ValueError as error:
            raise ConfigError([Problem(f"Azure {service} service at {address}: {error}")]) from error
        return await self._closing.enter_async_context(client)

    def _signed(self) -> _Signed:
        """The shared secret as it is now."""
        account = self._account
        if account.connection_string is not None:
            return _parsed(account.connection_string())
        if account.sas_token is not None:
            return _Signed(sas=account.sas_token())
        return _Signed()

    def _credential(self, signed: _Signed) -> Any:
        from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

        if signed.sas:
            return AzureSasCredential(signed.sas.lstrip("?"))
        if signed.key:
            return AzureNamedKeyCredential(signed.name, signed.key)
        if self._token is None:
            self._token = token_credential(self._account)
            self._closing.push_async_callback(self._token.close)
        return self._token

    async def refused(self) -> None:
        """The service does not take our credentials: read the secret again, at most every half minute. When it is
        another one now, new clients are made; those in use are closed at the end."""
        if self._signed_by == _Signed() or self._clock() - self._looked_at < REFUSED_RETRY_SECS:
            return
        self._looked_at = self._clock()
        try:
            now = await asyncio.to_thread(self._signed)
        except IngestdError:
            return  # what was refused is told by the caller; the next refusal looks again
        if now != self._signed_by:
            self._clients.clear()

    async def close(self) -> None:
        """Idempotent."""
        self._clients.clear()
        self._token = None
        await self._closing.aclose()


def require_sdk() -> None:
    """Raises `ConfigError` when the SDK is not installed."""
    try:
        import azure.identity
        import azure.storage.blob
        import azure.storage.queue  # noqa: F401 - only whether they are there
    except ModuleNotFoundError:
        raise ConfigError(
            [Problem("Azure needs its storage and identity packages", hint="pip install 'ingestd[azure]'")]
        ) from None


def token_credential(account: Account) -> Any:
    """Who we are without a shared secret."""
    from azure.identity.aio import DefaultAzureCredential

    tell_in_our_words()
    return DefaultAzureCredential(**credential_options(account))


def tell_in_our_words() -> None:
    """Have the SDK not write paragraphs to the log when it cannot sign in: the error that follows says why."""
    logging.getLogger("azure.identity").setLevel(logging.ERROR)


def credential_options(account: Account) -> dict[str, Any]:
    """How `DefaultAzureCredential` is told where to look; for its blocking form too."""
    authority = account.authority or _AUTHORITIES.get(account.suffix or "")
    named: dict[str, Any] = {"authority": authority} if authority else {}
    if account.client_id is not None:
        named |= {"managed_identity_client_id": account.client_id, "workload_identity_client_id": account.client_id}
    if account.tenant_id is not None:
        named |= {"workload_identity_tenant_id": account.tenant_id}
    return named


def _service_client(service: Service, address: str, credential: Any) -> Any:
    options: dict[str, Any] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}
    options["use_env_settings"] = False  # they are looked for at every request, which costs a quarter of it
    if (proxy := proxy_for(address)) is not None:
        options["proxies"] = {urlsplit(address).scheme: proxy}
    if service == "queue":
        from azure.storage.queue.aio import QueueServiceClient

        return QueueServiceClient(address, credential, **options)
    from azure.storage.blob.aio import BlobServiceClient

    return BlobServiceClient(
        address, credential, max_single_get_size=RANGE_BYTES, max_chunk_get_size=RANGE_BYTES, **options
    )


def _parsed(text: str) -> _Signed:
    """A connection string, as the portal shows it. Raises `ConfigError`, which does not quote it."""
    parts = dict(part.partition("=")[::2] for part in text.strip().strip(";").split(";"))
    name, key, sas = parts.get("AccountName", ""), parts.get("AccountKey", ""), parts.get("SharedAccessSignature", "")
    if not (sas or (name and key)):
        raise ConfigError(
            [Problem("the Azure connection string has neither AccountName and AccountKey nor SharedAccessSignature")]
        )
    endpoints = {
        service: parts[f"{service.title()}Endpoint"]
        for service in ("blob", "queue")
        if f"{service.title()}Endpoint" in parts
    }
    scheme, suffix = parts.get("DefaultEndpointsProtocol", "https"), parts.get("EndpointSuffix", PUBLIC_SUFFIX)
    for service in ("blob", "queue"):
        if name:
            endpoints.setdefault(service, f"{scheme}://{name}.{service}.{suffix}")
    return _Signed(name or _first_label(endpoints.get("blob", "")), key, sas, endpoints)


def _first_label(address: str) -> str:
    parts = urlsplit(address)
    path = parts.path.strip("/")
    return path.partition("/")[0] if path else (parts.hostname or "").partition(".")[0]


def _address(account: Account, signed: _Signed, service: Service, name: str) -> str:
    """Where the service of the account is. Only the configuration decides: whoever sends messages can name an
    account of the same cloud, and no other host."""
    if service == "queue":
        address = account.account_url or signed.endpoints.get("queue")
        if address is None:
            raise ConfigError([Problem("the Azure connection string names no queue service; set `account_url`")])
        return address
    if name in account.blob_endpoints:
        return account.blob_endpoints[name]
    if signed.key or signed.endpoints:
        if name == signed.name and "blob" in signed.endpoints:
            return signed.endpoints["blob"]
        raise Permanent(f"az://{name}: the connection string is for another account", reason="unknown_account")
    if signed.sas and name != _first_label(account.account_url or ""):
        raise Permanent(f"az://{name}: the shared access signature is for another account", reason="unknown_account")
    if account.suffix is None:
        raise Permanent(f"az://{name}: where is this account? Name it in `blob_endpoints`", reason="unknown_account")
    if not _NAME.fullmatch(name):
        raise Permanent(f"az://{name}: is no name of an account", reason="bad_reference")
    return f"https://{name}.blob.{account.suffix}"


# --- errors -------------------------------------------------------------------------------------------------


def code_of(error: BaseException) -> str:
    """The service's error code, such as `BlobNotFound`; empty for what is not the service's answer."""
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    code = headers.get("x-ms-error-code") or getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def status_of(error: BaseException) -> int:
    """HTTP status of the service's answer; 0 when there was none."""
    return int(getattr(error, "status_code", None) or 0)


def is_denied(error: BaseException) -> bool:
    """Whether our credentials are good and a role, or a permission of the SAS, is missing."""
    return code_of(error) in _DENIED or (status_of(error) == 403 and not code_of(error))


def told(error: BaseException) -> str:
    """The error in one line: the SDK's texts go on with request ids, times and the answer's XML."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _tried(error: BaseException) -> str:
    """What came of the ways of signing in that could be tried at all."""
    ways = [line.strip() for line in str(error).splitlines() if "Credential: " in line]
    tried = [line for line in ways if not any(word in line for word in _ABSENT)]
    if ways and not tried:
        return "neither environment variables nor a workload identity, a managed identity or `az login` was found"
    return "; ".join(tried)[:600] or told(error)


def common_failure(error: Exception, what: str) -> IngestdError | None:
    """What the errors mean that every service has in common; None for all others, refusals included."""
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        IncompleteReadError,
        ServiceRequestError,
        ServiceResponseError,
    )

    if isinstance(error, IngestdError):
        return error
    code, status = code_of(error), status_of(error)
    if code in _BAD_CREDENTIALS or status == 401:
        return Retryable(
            f"{what}: Azure does not take our credentials ({code or status})", retry_after=REFUSED_RETRY_SECS
        )
    if isinstance(error, ClientAuthenticationError) and not is_denied(error):
        return Retryable(f"{what}: there are no Azure credentials: {_tried(error)}", retry_after=REFUSED_RETRY_SECS)
    if code == "ServerBusy" or status in {429, 503}:
        return Overloaded(f"{what}: is asked to slow down ({code or status})")
    if code in _PASSING or status >= 500:
        return Retryable(f"{what}: failed on the service's side ({code or status})")
    if isinstance(error, ServiceRequestError | ServiceResponseError | IncompleteReadError | OSError | TimeoutError):
        return Retryable(f"{what}: {told(error)}")
    if isinstance(error, AzureError) and not isinstance(error, HttpResponseError):
        return Retryable(f"{what}: {told(error)}")
    if isinstance(error, HttpResponseError) and not status:
        return Retryable(f"{what}: {told(error)}")  # an answer that could not be read to its end
    return None


def failure(error: Exception, role: str, what: str) -> IngestdError:
    """What an error means where nothing special is known about it: everything may pass."""
    known = common_failure(error, what)
    if known is not None:
        return known
    if is_denied(error):
        return Retryable(refusal(error, role, what), retry_after=REFUSED_RETRY_SECS)
    return Retryable(f"{what}: {code_of(error) or status_of(error)}: {told(error)}")


def refusal(error: Exception, role: str, what: str) -> str:
    """A refusal as a sentence. `AuthorizationFailure` is also what the account's firewall says."""
    firewall = ", or the account's network rules keep us out" if code_of(error) == "AuthorizationFailure" else ""
    return f"{what}: not allowed; the role {role} is missing{firewall} ({code_of(error) or 403})"


def refused_attempt(error: Exception, role: str, what: str) -> AttemptFailed:
    """A refusal of one object: tried again before it counts for good, because roles take effect late."""
    return AttemptFailed(refusal(error, role, what), reason="forbidden")
