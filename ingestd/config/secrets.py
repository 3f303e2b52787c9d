"""Secrets by reference: the configuration says where a secret is, never what it is.

`{env: NAME}`, `{file: PATH}`, `{credential: NAME}` (systemd's `$CREDENTIALS_DIRECTORY`), `{aws_secret: NAME#KEY}`,
`{aws_parameter: NAME}`, `{azure_secret: ADDRESS#KEY}`, `{gcp_secret: NAME#KEY}`. A secret manager is one more row of
`RESOLVERS`. A secret is read each time it is resolved, so that a rotated one is picked up without a restart; it is
never kept here, printed, logged or sent to a child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ingestd import redact
from ingestd.config.base import BASE_FOLDER
from ingestd.errors import ConfigError, Problem

MAX_SECRET_BYTES = 65_536
"""More is not a secret but a wrong path; `/dev/zero` must not fill the memory."""


def _from_env(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise _unresolved(f"the environment variable {name} of a secret is not set")
    return value


def _from_file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise _unresolved(f"the secret file {path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise _unresolved(f"the secret file {path} is larger than {MAX_SECRET_BYTES} bytes")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _unresolved(f"the secret file {path} is not UTF-8 text") from None


def _from_credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise _unresolved(
            f"the credential {name} needs LoadCredential= in the systemd unit; $CREDENTIALS_DIRECTORY is unset"
        )
    if "/" in name or name in {"", ".", ".."}:
        raise _unresolved("the name of a credential is one plain file name")
    return _from_file(os.path.join(folder, name))


def _unresolved(message: str) -> ConfigError:
    return ConfigError([Problem(message)])


def _from_manager(cloud: str, function: str) -> Callable[[str], str]:
    """The manager's package, imported when the first of its secrets is read."""

    def resolve(locator: str) -> str:
        value: str = getattr(import_module(f"ingestd.cloud.{cloud}_secrets"), function)(locator)
        return value

    return resolve


RESOLVERS: dict[str, Callable[[str], str]] = {
    "env": _from_env,
    "file": _from_file,
    "credential": _from_credential,
    "aws_secret": _from_manager("aws", "secret"),
    "aws_parameter": _from_manager("aws", "parameter"),
    "azure_secret": _from_manager("azure", "secret"),
    "gcp_secret": _from_manager("gcp", "secret"),
}
"""Kind of reference → how its value is read. Called in a thread by those who resolve at run time: may block.
Raises `ConfigError` when the secret is not there, `Retryable` when its manager cannot be reached."""


class Secret:
    """A reference to a secret, as a field type of configuration models. Shows its place, never its value."""

    __slots__ = ("kind", "locator")

    def __init__(self, kind: str, locator: str) -> None:
        self.kind = kind
        self.locator = locator

    def resolve(self) -> str:
        """Read the value now. Raises `ConfigError` or `Retryable`; neither quotes the value."""
        value = RESOLVERS[self.kind](self.locator)
        if not value:
            raise _unresolved(f"the secret {self} is empty")
        redact.remember(value)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.kind, self.locator) == (other.kind, other.locator)

    def __hash__(self) -> int:
        return hash((self.kind, self.locator))

    def __repr__(self) -> str:
        return f"{{{self.kind}: {self.locator}}}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: {secret.kind: secret.locator}, return_schema=core_schema.dict_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "title": "Secret",
            "description": "Where the secret is: exactly one of these keys.",
            "oneOf": [
                {
                    "type": "object",
                    "properties": {kind: {"type": "string", "minLength": 1}},
                    "required": [kind],
                    "additionalProperties": False,
                }
                for kind in RESOLVERS
            ],
        }

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Secret:
        if isinstance(value, Secret):
            return value
        kinds = " or ".join(f"{{{kind}: …}}" for kind in RESOLVERS)
        if not isinstance(value, dict):
            raise ValueError(f"a secret is not written into the configuration; say where it is: {kinds}")  # noqa: TRY004 - pydantic collects ValueError
        if len(value) != 1 or next(iter(value)) not in RESOLVERS:
            raise ValueError(f"not a reference to a secret; write {kinds}")
        kind, locator = next(iter(value.items()))
        if not isinstance(locator, str) or not locator:
            raise ValueError(f"the place of a secret is text: {{{kind}: …}}")
        base = (info.context or {}).get(BASE_FOLDER)
        if kind == "file" and base is not None:
            locator = str(Path(base, Path(locator).expanduser()))
        return cls(kind, locator)
