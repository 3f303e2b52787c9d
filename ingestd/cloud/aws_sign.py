"""Signature version 4, for calls that are made all the time to one service.

The SDK finds out anew for each request what does not change, and takes seven times as long.
`tests/aws/test_credentials.py` compares what comes out with its own signatures.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

_ALGORITHM = "AWS4-HMAC-SHA256"


class Signer:
    """Signs requests to one service of one region."""

    def __init__(self, service: str, region: str) -> None:
        self._service = service
        self._region = region
        self._key: tuple[str, str, bytes] = ("", "", b"")
        """Of a secret and a day."""

    def signed(
        self,
        target: str,
        headers: Mapping[str, str],
        body_hash: str,
        credentials: Any,
        now: datetime,
    ) -> dict[str, str]:
        """All of the headers, with the signature. `Host` has to be among those given, and none that whoever is on the
        way may change.

        `target` is its method, path and query as they are sent, a line each, with the query's names sorted;
        `body_hash` the SHA-256 of its body in hex. `credentials` are the SDK's (`access_key`, `secret_key`, `token`);
        `now` is in UTC.
        """
        stamp = f"{now:%Y%m%dT%H%M%SZ}"
        sent = {**headers, "X-Amz-Date": stamp}
        if credentials.token:
            sent["X-Amz-Security-Token"] = credentials.token
        lines = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
        names = sorted(lines)
        shown = ";".join(names)
        canonical = "\n".join((target, *[f"{name}:{lines[name]}" for name in names], "", shown, body_hash))
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
