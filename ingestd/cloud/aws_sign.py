"""Signature version 4 for calls that are made all the time to one address.

The SDK finds out anew for each request what does not change, and takes seven times as long. What depends on the
address is asked of it once; `tests/aws/test_credentials.py` compares what comes out with its own signatures.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

_ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = frozenset({"user-agent"})
"""Headers that whoever is on the way may change."""


class Signer:
    """Signs POSTs to one URL of one service."""

    def __init__(self, url: str, service: str, region: str) -> None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        plain = SigV4Auth(None, service, region).canonical_request(AWSRequest("POST", url)).split("\n")
        self._beginning = "\n".join(plain[:3])  # method, path, query
        self._host = next(line.removeprefix("host:") for line in plain if line.startswith("host:"))
        self._service = service
        self._region = region
        self._key: tuple[str, str, bytes] = ("", "", b"")
        """Of a secret and a day."""

    def signed(self, headers: Mapping[str, str], body: bytes, credentials: Any, now: datetime) -> dict[str, str]:
        """The headers with which to send the body. `credentials` are the SDK's (`access_key`, `secret_key`, `token`);
        `now` is in UTC."""
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "X-Amz-Date": stamp}
        if credentials.token:
            sent["X-Amz-Security-Token"] = credentials.token
        lines = {name.lower(): " ".join(value.split()) for name, value in sent.items()} | {"host": self._host}
        names = sorted(lines.keys() - UNSIGNED)
        shown = ";".join(names)
        canonical = "\n".join(
            (self._beginning, *(f"{name}:{lines[name]}" for name in names), "", shown, sha256(body).hexdigest())
        )
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(credentials.secret_key, stamp[:8]), text.encode(), "sha256").hex()
        sent["Authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={shown}, Signature={signature}"
        )
        return sent

    def _key_of(self, secret: str, day: str) -> bytes:
        if self._key[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (secret, day, key)
        return self._key[2]
