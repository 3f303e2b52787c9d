"""Alerts as signed JSON to any HTTP endpoint, by the conventions of standardwebhooks.com.

`webhook-id` is the alert id: the same for every repeat, so that a receiver can tell one. `webhook-timestamp` is
the time of the attempt in seconds. `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
`<id>.<timestamp>.<body>`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.http import (
    Http,
    HttpDestinationConfig,
    allowed_url,
    resolved,
    resolved_header,
    resolved_url,
)
from ingestd.alerts.destinations.text import document, encode_within
from ingestd.config.base import Bytes
from ingestd.config.secrets import Secret
from ingestd.model import Alert, Check

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = {"webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-length", "host"}


def _text_or_secret(value: Any, info: ValidationInfo) -> str | Secret:
    return value if isinstance(value, str) else Secret._validate(value, info)


TextOrSecret = Annotated[
    str | Secret, PlainValidator(_text_or_secret), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})
]
"""A text, or a reference to a secret."""


class Config(HttpDestinationConfig):
    """Alerts as JSON to an HTTP endpoint."""

    url: TextOrSecret
    """Where to POST. A reference to a secret, when the URL itself is one."""
    secret: Secret | None = None
    """Key of the signature: `whsec_` and base64, or any text. Without it, alerts are not signed."""
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    """Further headers, e.g. `Authorization: {env: TOKEN}`."""
    max_body_bytes: Annotated[Bytes, Field(ge=16_384)] = 1_048_576
    """Largest body; a larger context is cut, with a note in it."""

    @field_validator("url")
    @classmethod
    def _url_is_allowed(cls, url: str | Secret, info: ValidationInfo) -> str | Secret:
        return allowed_url(url, info) if isinstance(url, str) else url

    @field_validator("headers")
    @classmethod
    def _headers_are_free(cls, headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name in headers:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header")
            if name.lower() in _OURS:
                raise ValueError(f"the header {name} is set by ingestd itself")
        return headers


class WebhookDestination(Destination):
    """See the module."""

    def __init__(self, name: str, config: Config, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._config = config
        self._clock = clock
        self._http = Http(name, config)

    async def send(self, alert: Alert) -> str:
        """See `Destination`."""
        body = encode_within(document(alert), self._config.max_body_bytes, context=["context"])
        url, headers = await self._address()
        headers |= {"Content-Type": "application/json", "webhook-id": alert.alert_id}
        timestamp = str(int(self._clock()))
        headers["webhook-timestamp"] = timestamp
        if self._config.secret is not None:
            key = await resolved(self._config.secret)
            headers["webhook-signature"] = sign(key, alert.alert_id, timestamp, body)
        answer = await self._http.request("POST", url, body=body, headers=headers)
        if not answer.ok:
            raise self._http.refusal(answer)
        return ""

    async def check(self) -> list[Check]:
        """See `Destination`. Nothing can be tried without alerting but whether the host answers at all."""
        what = f"destination {self.name}"
        try:
            url, headers = await self._address()
            parts = urlsplit(url)
            await self._http.request(
                "OPTIONS", urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), headers=headers
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return [Check(what=what, ok=False, detail=str(error))]
        return [Check(what=what, ok=True, detail="the host answers; no alert was sent to try")]

    async def close(self) -> None:
        """See `Destination`."""
        await self._http.close()

    async def _address(self) -> tuple[str, dict[str, str]]:
        url = self._config.url if isinstance(self._config.url, str) else await resolved_url(self._config.url)
        headers = {
            name: value if isinstance(value, str) else await resolved_header(value)
            for name, value in self._config.headers.items()
        }
        return url, headers


def sign(key: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The `webhook-signature` of a message."""
    secret = key.encode()
    if key.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):  # a key of the user's own that only looks like one
            secret = base64.b64decode(key.removeprefix("whsec_"), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def build(name: str, config: Config) -> WebhookDestination:
    """See `base`."""
    return WebhookDestination(name, config)
