"""Secrets from AWS Secrets Manager and from the Systems Manager's Parameter Store.

Read when they are resolved, in a thread, with the credentials and the region that the SDK finds by itself; an ARN
brings its own region.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from ingestd.cloud import aws
from ingestd.errors import ConfigError, Problem

_ABSENT = frozenset(
    {"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound", "InvalidRequestException"}
)
_REGION_PART = 3


def secret(locator: str) -> str:
    """The value of a secret, by name or ARN; `#key` behind it takes one value of a JSON object.

    Raises `ConfigError` when it is not there, `Retryable` when it cannot be read now; neither quotes a value.
    """
    name, _, key = locator.partition("#")
    answer = _call("secretsmanager", "get_secret_value", "secretsmanager:GetSecretValue", locator, SecretId=name)
    value = answer.get("SecretString")
    if value is None:
        raise _problem(f"the AWS secret {name} is binary, not text")
    return _value_under(value, key, name) if key else str(value)


def parameter(locator: str) -> str:
    """The value of a parameter, decrypted, by name or ARN. Raises like `secret`."""
    answer = _call("ssm", "get_parameter", "ssm:GetParameter", locator, Name=locator, WithDecryption=True)
    return str(answer["Parameter"]["Value"])


def _value_under(text: str, key: str, name: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get(key), str):
        raise _problem(f"the AWS secret {name} is not a JSON object with text under the key {key!r}")
    return str(document[key])


def _call(service: str, operation: str, action: str, locator: str, **request: Any) -> dict[str, Any]:
    aws.require_sdk()
    what = f"the secret {locator}"
    try:
        answer: dict[str, Any] = getattr(_client(service, _region_in(locator)), operation)(**request)
    except Exception as error:
        if aws.code_of(error) in _ABSENT:
            raise _problem(f"{what} is not in AWS ({aws.code_of(error)})") from None
        raise aws.failure(error, action, what) from error
    return answer


@cache
def _client(service: str, region: str | None) -> Any:
    """A blocking client; those of the SDK may be used by several threads."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    return session.create_client(
        service,
        region_name=region or session.get_config_variable("region") or aws.FALLBACK_REGION,
        config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"}),
    )


def _region_in(locator: str) -> str | None:
    parts = locator.split(":")
    return parts[_REGION_PART] if parts[0] == "arn" and len(parts) > _REGION_PART else None


def _problem(message: str) -> ConfigError:
    return ConfigError([Problem(message)])
