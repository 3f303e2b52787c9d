"""Secrets from Azure Key Vault, by their address.

Read when they are resolved, in a thread, as whoever `DefaultAzureCredential` finds us to be.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from ingestd.cloud import azure
from ingestd.errors import ConfigError, Problem

READER = "Key Vault Secrets User"
"""The role that reading a secret's value needs, on the vault or the secret."""
_ADDRESS = re.compile(r"(https://[^/\s?#]+)/secrets/([0-9A-Za-z-]{1,127})(?:/([0-9A-Za-z]+))?/?(?:#(.+))?")
_AUTHORITIES = {
    ".vault.usgovcloudapi.net": "https://login.microsoftonline.us",
    ".vault.azure.cn": "https://login.partner.microsoftonline.cn",
}
_ABSENT = frozenset({"SecretNotFound", "SecretDisabled"})


def secret(locator: str) -> str:
    """The value at `https://<vault>.vault.azure.net/secrets/<name>`, perhaps with `/<version>`; `#key` behind it
    takes one value of a JSON object.

    Raises `ConfigError` when it is not there, `Retryable` when it cannot be read now; neither quotes a value.
    """
    found = _ADDRESS.fullmatch(locator)
    if found is None:
        raise _problem(
            f"{locator!r} is not the address of a secret: write https://<vault>.vault.azure.net/secrets/<name>"
        )
    vault, name, version, key = found.groups()
    value = _read(vault, name, version)
    return _value_under(value, key, name) if key else value


def _read(vault: str, name: str, version: str | None) -> str:
    what = f"the secret {vault}/secrets/{name}"
    client = _client(vault)
    try:
        value = client.get_secret(name, version).value
    except Exception as error:
        code = getattr(getattr(error, "error", None), "code", "") or azure.code_of(error)
        if code in _ABSENT or azure.status_of(error) == 404:
            raise _problem(f"{what} is not there ({code or 404})") from None
        raise azure.failure(error, READER, what) from error
    if value is None:
        raise _problem(f"{what} has no value")
    return str(value)


def _value_under(text: str, key: str, name: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get(key), str):
        raise _problem(f"the Azure secret {name} is not a JSON object with text under the key {key!r}")
    return str(document[key])


@cache
def _client(vault: str) -> Any:
    """A blocking client; those of the SDK may be used by several threads."""
    try:
        from azure.identity import DefaultAzureCredential
        from azure.keyvault.secrets import SecretClient
    except ModuleNotFoundError:
        raise ConfigError(
            [Problem("Azure Key Vault needs its packages", hint="pip install 'ingestd[azure]'")]
        ) from None

    azure.tell_in_our_words()
    credential = DefaultAzureCredential(**_where_to_sign_in(vault))
    return SecretClient(vault, credential, retry_total=2, connection_timeout=5, read_timeout=10)


def _where_to_sign_in(vault: str) -> dict[str, Any]:
    """Which cloud a vault belongs to, where it is not the public one."""
    host = vault.removeprefix("https://").rstrip("/")
    return next(({"authority": authority} for end, authority in _AUTHORITIES.items() if host.endswith(end)), {})


def _problem(message: str) -> ConfigError:
    return ConfigError([Problem(message)])
