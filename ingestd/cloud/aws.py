"""AWS: sessions, credentials, and what its errors mean. The SDK is imported when the first client is made.

Retrying is ours: the SDK is told to try once. Credentials come from the SDK's own chain (environment, profile, web
identity of a Kubernetes service account, container, instance role); a role is assumed on top of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

import msgspec

from ingestd.errors import ConfigError, IngestdError, Overloaded, Permanent, Problem, Retryable

CONNECTIONS = 128
"""Per client: more than the objects that a machine of usual size reads at once."""
REFUSED_RETRY_SECS = 30.0
"""Pause after a refusal, which may pass: policies take effect late, and somebody may be mending them."""
FALLBACK_REGION = "us-east-1"

_DENIED = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "Forbidden",
        "KMS.AccessDeniedException",
        "KmsAccessDenied",
        "UnauthorizedOperation",
    }
)
_BAD_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_SLOW_DOWN = frozenset(
    {
        "BandwidthLimitExceeded",
        "KmsThrottled",
        "OverLimit",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_PASSING = frozenset({"InternalError", "InternalFailure", "RequestTimeout", "RequestTimeoutException"})
_ACTION = re.compile(r"to perform: ([a-z0-9-]+:[A-Za-z]+)")
_TOLD = re.compile(r"the permission ([a-z0-9-]+:[A-Za-z]+)(?: on [^;]+)? is missing")
"""How errors of ours say it."""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role to assume."""

    arn: str
    external_id: Callable[[], str] | None = None
    """Read at each refresh; may block."""
    session_name: str = "ingestd"
    duration_secs: int = 3_600
    web_identity_token_file: str | None = None
    """Assume it with this token rather than with credentials."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """As whom, and where."""

    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    role: Role | None = None


class Clients:
    """Clients of one account over one session, each made when it is first asked for."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._closing = AsyncExitStack()
        self._making = asyncio.Lock()

    async def get(self, service: str) -> Any:
        """The client of `s3`, `sqs`, …; raises `ConfigError` when the SDK or the profile is not there."""
        if service not in self._clients:
            async with self._making:
                if service not in self._clients:
                    self._clients[service] = await self._make(service)
        return self._clients[service]

    async def _make(self, service: str) -> Any:
        require_sdk()
        from botocore.exceptions import InvalidConfigError, PartialCredentialsError, ProfileNotFound

        try:
            if self._session is None:
                self._session = _session(self._account)
            client = self._session.create_client(
                service,
                region_name=_region(self._session, self._account),
                endpoint_url=self._account.endpoint_url,
                config=_client_config(self._account),
            )
            return await self._closing.enter_async_context(client)
        except (ProfileNotFound, InvalidConfigError, PartialCredentialsError, ValueError) as error:
            raise ConfigError([Problem(f"AWS {service}: {error}")]) from error
        except Exception as error:
            raise failure(error, f"{service}:*", f"the {service} client") from error

    async def credentials(self) -> Any:
        """The SDK's credentials as they are now (`access_key`, `secret_key`, `token`), renewed when it is time.
        Raises `Retryable` when there are none."""
        from botocore.exceptions import NoCredentialsError

        if self._session is None:
            await self.get("s3")
        try:
            found = await self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            return await found.get_frozen_credentials()
        except Exception as error:
            raise failure(error, "sts:AssumeRole", "the AWS credentials") from error

    async def has_own_authority(self) -> bool:
        """Whether servers are trusted by a file of certificates of one's own (`AWS_CA_BUNDLE`, `ca_bundle`,
        `REQUESTS_CA_BUNDLE`)."""
        return bool(await self._authority())

    async def tls(self) -> ssl.SSLContext | None:
        """How servers are trusted, where that is by certificates of one's own; None otherwise."""
        file = await self._authority()
        return ssl.create_default_context(cafile=file) if file else None

    async def _authority(self) -> str | None:
        if self._session is None:
            await self.get("s3")
        found: str | None = self._session.get_config_variable("ca_bundle")
        return found or os.environ.get("REQUESTS_CA_BUNDLE")

    async def close(self) -> None:
        """Idempotent."""
        self._clients.clear()
        await self._closing.aclose()


def require_sdk() -> None:
    """Raises `ConfigError` when the SDK is not installed."""
    try:
        import aiobotocore  # noqa: F401 - only whether it is there
    except ModuleNotFoundError:
        raise ConfigError([Problem("AWS needs the package aiobotocore", hint="pip install 'ingestd[aws]'")]) from None


def _client_config(account: Account) -> Any:
    from aiobotocore.config import AioConfig

    return AioConfig(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        response_checksum_validation="when_required",
        request_checksum_calculation="when_required",
        # a server of one's own seldom has a host name per bucket
        s3={"addressing_style": "path" if account.endpoint_url else "auto"},
    )


def _region(session: Any, account: Account) -> str:
    return account.region or session.get_config_variable("region") or FALLBACK_REGION


@cache
def _loader() -> Any:
    """The SDK's descriptions of services, read once: they cost more than everything else about a client."""
    from botocore.loaders import Loader

    return Loader()


def _plain_session(account: Account) -> Any:
    from aiobotocore.session import AioSession

    session = AioSession(profile=account.profile)
    session.register_component("data_loader", _loader())
    return session


def _session(account: Account) -> Any:
    """A session with the account's credentials; a role is assumed at the first call and again before it expires."""
    require_sdk()
    from aiobotocore.credentials import AioDeferredRefreshableCredentials

    session = _plain_session(account)
    if account.role is not None:
        role, base = account.role, _plain_session(account)
        # the session has no public way to take credentials that refresh themselves
        session._credentials = AioDeferredRefreshableCredentials(
            refresh_using=lambda: _assume(base, account, role), method="assume-role"
        )
    return session


async def _assume(base: Any, account: Account, role: Role) -> dict[str, str]:
    """Credentials of the role, in the SDK's form. Raises `Retryable` naming what is missing."""
    from botocore import UNSIGNED

    asked: dict[str, Any] = {
        "RoleArn": role.arn,
        "RoleSessionName": role.session_name,
        "DurationSeconds": role.duration_secs,
    }
    config = _client_config(account)
    token = None
    if role.web_identity_token_file is not None:
        token = await asyncio.to_thread(_read_token, role.web_identity_token_file)
        config.signature_version = UNSIGNED
    elif role.external_id is not None:
        asked["ExternalId"] = await asyncio.to_thread(role.external_id)
    action = "sts:AssumeRole" if token is None else "sts:AssumeRoleWithWebIdentity"
    try:
        async with base.create_client(
            "sts", region_name=_region(base, account), endpoint_url=account.endpoint_url, config=config
        ) as sts:
            if token is None:
                answer = await sts.assume_role(**asked)
            else:
                answer = await sts.assume_role_with_web_identity(WebIdentityToken=token, **asked)
    except Exception as error:
        raise failure(error, action, f"the role {role.arn}") from error
    found = answer["Credentials"]
    return {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "token": found["SessionToken"],
        "expiry_time": found["Expiration"].isoformat(),
    }


def _read_token(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Retryable(f"the web identity token {path} cannot be read: {error}") from None


# --- errors -------------------------------------------------------------------------------------------------


def code_of(error: BaseException) -> str:
    """The service's error code, such as `AccessDenied`; empty for what is not the service's answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def status_of(error: BaseException) -> int:
    """HTTP status of the service's answer; 0 when there was none."""
    response = getattr(error, "response", None)
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(response, dict) else 0


def missing_action(error: BaseException, action: str) -> str | None:
    """The IAM action that was refused: the one that the answer names, else `action`; None if it is no refusal. Of an
    error of ours, the one that it names: a role may have been refused before anything else was asked for."""
    if isinstance(error, IngestdError):
        told = _TOLD.search(str(error))
        return told[1] if told else None
    if code_of(error) not in _DENIED:
        return None
    named = _ACTION.search(str(error))
    return named[1] if named else action


def common_failure(error: Exception, action: str, what: str) -> IngestdError | None:
    """What the errors mean that every service has in common; None for all others, refusals included."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import (
        BotoCoreError,
        CredentialRetrievalError,
        HTTPClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from botocore.exceptions import (
        ConnectionError as NoConnection,
    )

    if isinstance(error, IngestdError):
        return error
    code, status = code_of(error), status_of(error)
    if code in _BAD_CREDENTIALS:
        return Retryable(f"{what}: AWS does not take our credentials ({code})", retry_after=REFUSED_RETRY_SECS)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return Retryable(f"{what}: there are no AWS credentials: {error}", retry_after=REFUSED_RETRY_SECS)
    if code in _SLOW_DOWN or status in {429, 503}:
        return Overloaded(f"{what}: {action} is asked to slow down ({code or status})")
    if code in _PASSING or status >= 500:
        return Retryable(f"{what}: {action} failed on the service's side ({code or status})")
    if isinstance(error, HTTPClientError | NoConnection | HttpError | OSError | TimeoutError):
        return Retryable(f"{what}: {action}: {error or type(error).__name__}")
    if isinstance(error, ParamValidationError):
        return Permanent(f"{what}: {error}", reason="bad_reference")
    if isinstance(error, BotoCoreError):
        return Retryable(f"{what}: {action}: {error}")
    return None


def failure(error: Exception, action: str, what: str) -> IngestdError:
    """What an error means where nothing special is known about it: everything may pass."""
    known = common_failure(error, action, what)
    if known is not None:
        return known
    missing = missing_action(error, action)
    if missing is not None:
        return Retryable(f"{what}: not allowed; the permission {missing} is missing", retry_after=REFUSED_RETRY_SECS)
    return Retryable(f"{what}: {action}: {error}")
