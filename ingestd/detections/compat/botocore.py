"""Answers to `botocore` and `botocore.exceptions` where they are not installed: what rules catch when they ask for a
secret."""

from __future__ import annotations

import sys
from typing import Any

__path__: list[str] = []  # a package to the import system
exceptions = sys.modules[__name__]


class BotoCoreError(Exception):
    """Base of the errors that are no service's answer."""


class NoCredentialsError(BotoCoreError):
    """There are no credentials."""


class ClientError(Exception):
    """A service answered with an error."""

    def __init__(self, error_response: dict[str, Any], operation_name: str) -> None:
        said = error_response.get("Error", {})
        super().__init__(
            f"An error occurred ({said.get('Code', 'Unknown')}) when calling the {operation_name} operation:"
            f" {said.get('Message', 'Unknown')}"
        )
        self.response = error_response
        self.operation_name = operation_name
