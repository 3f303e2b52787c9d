"""Secrets for rules: one door, behind which the parent answers.

A value is kept for as long as the parent allows, so that a rule may ask for each event, and it is hidden in whatever
a detection returns or raises (`ingestd.detections.hiding`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from ingestd.detections import hiding

_MOST_NAMES = 1_000

Refusal = Literal["not_granted", "not_found", "unavailable"]


class SecretError(Exception):
    """A rule cannot have a secret that it asks for. `reason` says why in one word."""

    def __init__(self, message: str, reason: Refusal) -> None:
        super().__init__(message)
        self.reason = reason


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent says of a name."""

    value: str = ""
    refused: Refusal | None = None
    message: str = ""
    """Why it was refused, for the author of the rule. Quotes no value."""
    keep_secs: float = 0.0
    """How long the answer may be given again without asking."""

    def __repr__(self) -> str:
        return f"Answer(refused={self.refused!r})"


class Store(Protocol):
    """Answers for a name: in a child over the pipe to the parent."""

    def __call__(self, name: str, /) -> Answer:
        """What there is under this name."""


def _no_store(name: str, /) -> Answer:
    message = (
        f"secret {name!r}: there are none here. Ask inside rule() or another function, not while the module is"
        " imported; in a test, mock the function that asks"
    )
    return Answer(refused="unavailable", message=message)


_store: Store = _no_store
_clock: Callable[[], float] = time.monotonic
_kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
"""Name → until when, and the answer."""


def connect(store: Store | None) -> None:
    """Answer rules' requests by `store` from now on; None takes the door away. Forgets what was kept."""
    global _store  # noqa: PLW0603 - one door per process, because rules reach it through module functions
    _store = _no_store if store is None else store
    _kept.clear()


def get(name: str) -> str:
    """The secret of this name. Raises `SecretError` when there is none, or the rule may not have it."""
    if not isinstance(name, str) or not name:
        raise SecretError("the name of a secret is text", "not_found")
    now = _clock()
    until, answer = _kept.get(name, (0.0, None))
    if answer is None or until <= now:
        answer = _store(name)
        if answer.refused is None:
            hiding.remember(answer.value)  # before it is kept: the rule's time may run out right here
        _kept[name] = (now + answer.keep_secs, answer)
        if len(_kept) > _MOST_NAMES:
            _kept.popitem(last=False)
    if answer.refused is not None:
        raise SecretError(answer.message, answer.refused)
    return answer.value
