"""What all destinations over HTTP share: where they may connect to, how an answer is read, what a refusal means.

Redirects are never followed, answers are read to a bound, and no message contains a URL's path, a header or a
secret: of an address, errors show the host.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, ValidationInfo

from ingestd import __version__, redact
from ingestd.alerts.destinations.text import printable, shorten
from ingestd.config.base import ConfigPath
from ingestd.config.models import DestinationConfig
from ingestd.config.secrets import Secret
from ingestd.errors import ConfigError, Overloaded, Permanent, Problem, Retryable

if TYPE_CHECKING:
    import aiohttp  # imported when the first request is made: describing a destination must stay cheap

MAX_ANSWER_BYTES = 65_536
_MAX_EXCERPT = 200
_RETRYABLE = {408, 421, 425}
"""Besides 429 and everything from 500 on."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's answer."""

    host: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    """False when the body goes on beyond the bytes asked for, or the connection broke."""

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def excerpt(self) -> str:
        """The start of the body in one safe line, for errors."""
        return shorten(printable(redact.text(self.text[:4_096]), one_line=True), _MAX_EXCERPT)


def checked_url(url: str, *, allow_http: bool = False) -> str:
    """The URL, if alerts may be sent there: https, or http on this machine or where it is allowed. Raises
    `ValueError` that does not quote it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("not a URL; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with user or password in it; put the credentials into a secret header")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise ValueError("alerts are sent over https only; set allow_http to send them in the clear")
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError("a URL with spaces or control characters")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy_url(url: str) -> str:
    return checked_url(url, allow_http=True)


def allowed_url(url: str, info: ValidationInfo) -> str:
    """Validator of a field after `allow_http`, which it takes into account."""
    return checked_url(url, allow_http=bool(info.data.get("allow_http")))


HttpUrl = Annotated[str, AfterValidator(allowed_url)]
"""An address that alerts may be sent to, as a field of an `HttpDestinationConfig`."""


class HttpDestinationConfig(DestinationConfig):
    """What every destination over HTTP understands."""

    allow_http: bool = False
    """Whether to send over plain http to other machines. Over https certificates are always checked."""
    ca_file: ConfigPath | None = None
    """PEM file with further certificate authorities to trust."""
    proxy_url: Annotated[str, AfterValidator(_proxy_url)] | None = None
    """HTTP proxy to go through. The environment's proxy variables are not used."""


class Http:
    """The connections of one destination."""

    def __init__(self, name: str, config: HttpDestinationConfig) -> None:
        self._name = name
        self._config = config
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send a request and read the answer. Raises `Retryable` when none came, `Permanent` for a URL that
        alerts may not be sent to. What a status means is for the caller; see `refusal`."""
        try:
            checked_url(url, allow_http=self._config.allow_http)
        except ValueError as error:
            raise Permanent(f"{self._name}: the address is {error}", reason="url") from None
        import aiohttp

        host = urlsplit(url).hostname or ""
        try:
            async with self._open().request(
                method, url, data=body, headers=headers, allow_redirects=False, proxy=self._config.proxy_url
            ) as response:
                content, whole = await _read(response, max_bytes)
                return Answer(host=host, status=response.status, headers=response.headers, body=content, whole=whole)
        except TimeoutError:
            raise Retryable(f"{self._name}: {host} gave no answer in {self._config.timeout_secs:g} s") from None
        except aiohttp.InvalidURL:
            raise Permanent(f"{self._name}: the address is not a URL", reason="url") from None
        except ValueError:
            raise Permanent(
                f"{self._name}: a header has a line break or a control character", reason="header"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Retryable(f"{self._name}: no connection to {host}: {_reason(error)}") from None

    def refusal(self, answer: Answer, detail: str = "") -> Retryable | Permanent:
        """The error that an answer other than 2xx means; `detail` is what the provider says, if not its body."""
        said = printable(redact.text(detail), one_line=True) if detail else answer.excerpt()
        message = f"{self._name}: {answer.host} answered {answer.status}" + (f": {said}" if said else "")
        if 300 <= answer.status < 400:
            return Permanent(f"{message} (redirects are not followed; configure the final URL)", reason="redirect")
        if answer.status == 429:
            return Overloaded(message, retry_after=retry_after(answer.headers))
        if answer.status in _RETRYABLE or answer.status >= 500:
            return Retryable(message, retry_after=retry_after(answer.headers))
        return Permanent(message, reason=f"http_{answer.status}")

    async def close(self) -> None:
        """Idempotent."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            tls = ssl.create_default_context()
            if self._config.ca_file is not None:
                tls.load_verify_locations(cafile=self._config.ca_file)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls, limit=self._config.concurrency),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout_secs),
                # an answer is never worth inflating: it could be a bomb
                auto_decompress=False,
                headers={"User-Agent": f"ingestd/{__version__}", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the body, and whether that is all. A connection that breaks here is no error: the
    status has said what happened."""
    import aiohttp

    content = bytearray()
    try:
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > limit:
                response.close()  # the rest is not worth reading, nor is the connection
                return bytes(content[:limit]), False
    except (aiohttp.ClientError, TimeoutError, OSError):
        response.close()
        return bytes(content), False
    return bytes(content), True


def _reason(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or type(error).__name__
    return shorten(printable(redact.text(str(text)), one_line=True), _MAX_EXCERPT)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds asked for by a Retry-After header, in either of its forms; None without one that makes sense."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        seconds = (moment - datetime.datetime.now(datetime.UTC)).total_seconds()
    return seconds if 0 <= seconds < float("inf") else None


async def resolved(secret: Secret) -> str:
    """A secret's value now. Raises `Retryable` when it cannot be read: it may be there at the next attempt."""
    try:
        return await asyncio.to_thread(secret.resolve)
    except ConfigError as error:
        raise Retryable(str(error)) from None


async def resolved_url(secret: Secret) -> str:
    """A URL that is a secret. What of it is secret (path, query and their parts) is hidden by itself, too: a
    provider may quote it."""
    url = await resolved(secret)
    try:
        _, _, path, query, _ = urlsplit(url)
    except ValueError:
        return url  # refused when it is used
    for part in (path, query, *path.split("/"), *query.split("&")):
        redact.remember(part)
    return url


async def resolved_header(secret: Secret) -> str:
    """A header value that is a secret: `Bearer <token>`, whose token is hidden by itself, too."""
    value = await resolved(secret)
    redact.remember(value.rpartition(" ")[2])
    return value


def config_error(name: str, message: str) -> ConfigError:
    """A destination that cannot be built from its configuration."""
    return ConfigError([Problem(message, path=f"destinations.{name}")])
