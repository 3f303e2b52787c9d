"""How a request to Azure Storage shows who makes it, without the SDK's machinery.

`tests/azure/test_sign_in.py` compares signatures with the SDK's own.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

API_VERSION = "2021-12-02"
_NO_STANDARD_HEADERS = "\n" * 11
"""Content-Encoding to Range, of which a request without a body and conditions has none."""


def signed(
    method: str, account: str, path: str, query: Mapping[str, str], credential: Mapping[str, Any], now: datetime
) -> tuple[dict[str, str], str]:
    """Headers of a request without a body, and what is added to its query.

    `path` is as it is sent, `query` not yet encoded. `credential` is of the form of `Clients.credential_in_use`;
    `now` is in UTC.
    """
    headers = {"x-ms-date": format_datetime(now, usegmt=True), "x-ms-version": API_VERSION}
    if "sas_token" in credential:
        return headers, credential["sas_token"]
    if "token" in credential:
        return {**headers, "Authorization": f"Bearer {credential['token']}"}, ""
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    parameters = "".join(f"\n{name.lower()}:{value}" for name, value in sorted(query.items()))
    text = f"{method}\n{_NO_STANDARD_HEADERS}{lines}/{account}{path}{parameters}"
    digest = hmac.digest(base64.b64decode(credential["access_key"]), text.encode(), "sha256")
    return {**headers, "Authorization": f"SharedKey {account}:{base64.b64encode(digest).decode()}"}, ""
