"""Secrets from Google's Secret Manager, by their name.

Read when they are resolved, in a thread, as whoever Application Default Credentials find us to be.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import cache
from typing import Any

from ingestd.cloud import gcp
from ingestd.errors import ConfigError, IngestdError, Problem, Retryable

ADDRESS = "https://secretmanager.googleapis.com/v1"
READER = "Secret Manager Secret Accessor"
"""The role that reading a secret's value needs."""
TIMEOUT_SECS = 10.0
_NAME = re.compile(r"(projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255})(?:/versions/([a-z0-9_-]+))?(?:#(.+))?")


def secret(locator: str) -> str:
    """The value of `projects/<project>/secrets/<name>`, the latest or that of `/versions/<version>`; `#key` behind it
    takes one value of a JSON object.

    Raises `ConfigError` when it is not there, `Retryable` when it cannot be read now; neither quotes a value.
    """
    found = _NAME.fullmatch(locator)
    if found is None:
        raise _problem(f"{locator!r} is not the name of a secret: write projects/<project>/secrets/<name>")
    name, version, key = found.groups()
    value = _read(name, version or "latest")
    return _value_under(value, key, name) if key else value


def _read(name: str, version: str) -> str:
    from google.auth.exceptions import GoogleAuthError
    from requests import RequestException

    what = f"the secret {name}"
    session = _session()
    try:
        answer = session.get(f"{ADDRESS}/{name}/versions/{version}:access", timeout=TIMEOUT_SECS)
    except (GoogleAuthError, RequestException) as error:
        raise Retryable(f"{what}: {gcp.told(error)}", retry_after=gcp.REFUSED_RETRY_SECS) from error
    if answer.status_code != 200:
        raise _refused(answer.status_code, what)
    try:
        return base64.b64decode(answer.json()["payload"]["data"], validate=True).decode()
    except (ValueError, LookupError, TypeError, binascii.Error):
        raise _problem(f"{what} is not UTF-8 text") from None


def _refused(status: int, what: str) -> IngestdError:
    if status in {400, 404}:  # 400 is what a version says that is disabled or destroyed
        return _problem(f"{what} is not there, or its version is disabled ({status})")
    if status == 403:
        return Retryable(f"{what}: not allowed; the role {READER} is missing", retry_after=gcp.REFUSED_RETRY_SECS)
    return Retryable(f"{what}: Secret Manager answers {status}", retry_after=gcp.REFUSED_RETRY_SECS)


def _value_under(text: str, key: str, name: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get(key), str):
        raise _problem(f"the Google secret {name} is not a JSON object with text under the key {key!r}")
    return str(document[key])


@cache
def _session() -> Any:
    """An HTTP session that signs in; it renews its token by itself."""
    gcp.require_sdk()
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(gcp.credentials_of(gcp.Account(), None))  # type: ignore[no-untyped-call]


def _problem(message: str) -> ConfigError:
    return ConfigError([Problem(message)])
