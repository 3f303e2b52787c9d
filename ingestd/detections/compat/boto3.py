"""Answers to `boto3` and `boto3.session`: its Secrets Manager is the rules' own door to secrets.

Everything else is the installed package's, loaded when it is first used: most rules that import boto3 never use it,
and it is slow to import. Where it is not installed, secrets work all the same.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from ingestd.detections import secrets

SECRETS_MANAGER: Final = "secretsmanager"
_CODES: Final[dict[secrets.Refusal, str]] = {
    "not_granted": "AccessDeniedException",
    "not_found": "ResourceNotFoundException",
    "unavailable": "InternalServiceError",
}
_SUFFIX: Final = 7
"""Characters that Secrets Manager adds to a name in an ARN: a hyphen and six more."""


def _folder() -> list[str]:
    """Where the installed package lies; nowhere if there is none."""
    spec = PathFinder.find_spec("boto3")
    return list(spec.submodule_search_locations or ()) if spec is not None else []


__path__ = _folder()
"""Its other modules (`boto3.dynamodb.conditions`) are imported from there."""
session = sys.modules[__name__]
DEFAULT_SESSION: Session | None = None


class SecretsManager:
    """The client that `boto3.client("secretsmanager")` gives: it reads secrets by name, and does nothing else."""

    def __init__(self) -> None:
        error = _client_error()
        codes = {code: type(code, (error,), {}) for code in _CODES.values()}
        self.exceptions = SimpleNamespace(ClientError=error, **codes)

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        """As the real one, for the current version of a secret that is text. `SecretId` is a name or an ARN."""
        asked = request.get("SecretId")
        if (
            not isinstance(asked, str)
            or request.get("VersionId")
            or request.get("VersionStage")
            not in {
                None,
                "AWSCURRENT",
            }
        ):
            raise self._error(
                "InvalidRequestException", "SecretId is text, and only the current version is to be had"
            )
        name = _name_in(asked)
        try:
            value = secrets.get(name)
        except secrets.SecretError as refused:
            raise self._error(_CODES[refused.reason], str(refused)) from None
        return {"ARN": asked, "Name": name, "SecretString": value, "VersionStages": ["AWSCURRENT"]}

    def _error(self, code: str, message: str) -> Exception:
        response = {"Error": {"Code": code, "Message": message}}
        made: Exception = getattr(self.exceptions, code, self.exceptions.ClientError)(response, "GetSecretValue")
        return made


class Session:
    """A session of boto3, but for its Secrets Manager."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._arguments = arguments, named
        self._installed: Any = None

    def client(self, service_name: str, *arguments: Any, **named: Any) -> Any:
        """A client of that service."""
        if service_name == SECRETS_MANAGER:
            return SecretsManager()
        return self._real().client(service_name, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> Any:
        if self._installed is None:
            arguments, named = self._arguments
            self._installed = _session_module().Session(*arguments, **named)
        return self._installed


def setup_default_session(**named: Any) -> None:
    """Make the session that `client` and `resource` use."""
    global DEFAULT_SESSION  # noqa: PLW0603 - as in the package that this answers for
    DEFAULT_SESSION = Session(**named)


def client(service_name: str, *arguments: Any, **named: Any) -> Any:
    """A client of the default session."""
    return _default().client(service_name, *arguments, **named)


def resource(service_name: str, *arguments: Any, **named: Any) -> Any:
    """A resource of the default session."""
    return _default().resource(service_name, *arguments, **named)


def _default() -> Session:
    global DEFAULT_SESSION  # noqa: PLW0603 - as in the package that this answers for
    if DEFAULT_SESSION is None:
        DEFAULT_SESSION = Session()
    return DEFAULT_SESSION


def __getattr__(name: str) -> Any:
    if name == "__version__" and __path__:
        return importlib.metadata.version("boto3")
    if (below := sys.modules.get(f"boto3.{name}")) is not None:
        return below  # loaded before this stood for the package, and so not set here
    raise AttributeError(f"module 'boto3' has no attribute {name!r}")


@cache
def _session_module() -> ModuleType:
    """The installed package's `boto3.session`, under a name of its own."""
    if not __path__:
        message = "of boto3, only the Secrets Manager is answered here; for the rest, install ingestd[rules]"
        raise ModuleNotFoundError(message, name="boto3")
    spec = importlib.util.spec_from_file_location("boto3._session", f"{__path__[0]}/session.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def _client_error() -> Any:
    """What rules catch: `botocore.exceptions.ClientError`, the installed one or ours."""
    return importlib.import_module("botocore.exceptions").ClientError


def _name_in(asked: str) -> str:
    """The name of a secret in its ARN; a name is itself."""
    parts = asked.split(":", 6)
    if parts[0] != "arn" or len(parts) < 7:  # arn:aws:secretsmanager:region:account:secret:name-suffix
        return asked
    name = parts[6]
    return name[:-_SUFFIX] if name[-_SUFFIX : -_SUFFIX + 1] == "-" else name
