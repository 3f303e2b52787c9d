"""What rules may import of ingestd itself: `from ingestd.rules import get_secret`."""

from __future__ import annotations

from ingestd.detections.secrets import SecretError, get

__all__ = ["SecretError", "get_secret"]


def get_secret(name: str) -> str:
    """The secret of this name, e.g. `panther-analysis/greynoise`, as text.

    Call it inside a function of the rule, for each event if need be: it is kept for a while. Raises `SecretError`
    when the configuration (`detections.secrets`) grants or knows no such name.
    """
    return get(name)
