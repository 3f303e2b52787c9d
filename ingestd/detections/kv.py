"""The rules' key-value store, as seen from a child: one door, behind which the parent, or a test, answers.

One item per string key holds a counter, a string set and a dictionary (as JSON text), and one time of expiry.
Every operation is atomic on its item. An expired item answers as if it were not there, and a write to it
starts afresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

Operation = Literal[
    "get", "add_count", "reset_count", "set_expiry", "put_dictionary", "put_set", "add_to_set", "remove_from_set",
    "reset_set",
]  # fmt: skip


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a rule. `get` reads the whole item; everything else writes, and answers the item after."""

    operation: Operation
    key: str
    amount: int = 0
    strings: tuple[str, ...] = ()
    text: str = ""
    expires_at: float | None = None
    """Seconds since the epoch, for the operations that set it; None leaves the item's own."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept under a key. All fields are empty for a key that is not there."""

    count: int | None = None
    strings: tuple[str, ...] | None = None
    dictionary: str | None = None
    expires_at: float | None = None


class Store(Protocol):
    """Answers requests: in a child over the pipe to the parent, in tests from memory."""

    def __call__(self, request: Request, /) -> Item:
        """Carry out one request, atomically; raises `errors.Retryable` when the store cannot be reached."""


def apply(item: Item, request: Request, now: float) -> Item:
    """The item after `request`: the one place that says what each operation does, for every kind of store."""
    if item.expires_at is not None and item.expires_at <= now:
        item = Item()
    expires_at = item.expires_at if request.expires_at is None else request.expires_at
    strings = set(item.strings or ())
    given = set(request.strings)
    match request.operation:
        case "get":
            return item
        case "add_count":
            changed = msgspec.structs.replace(item, count=(item.count or 0) + request.amount)
        case "reset_count":
            changed = msgspec.structs.replace(item, count=None)
        case "set_expiry":
            changed = item
        case "put_dictionary":
            changed = msgspec.structs.replace(item, dictionary=request.text)
        case "put_set":
            changed = msgspec.structs.replace(item, strings=tuple(sorted(given)))
        case "add_to_set":
            changed = msgspec.structs.replace(item, strings=tuple(sorted(strings | given)))
        case "remove_from_set":
            changed = msgspec.structs.replace(item, strings=tuple(sorted(strings - given)))
        case "reset_set":
            changed = msgspec.structs.replace(item, strings=None)
    return msgspec.structs.replace(changed, expires_at=expires_at)


class MemoryStore:
    """A store for tests and single runs: items in this process, gone with it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.items: dict[str, Item] = {}
        self._clock = clock

    def __call__(self, request: Request, /) -> Item:
        """Carry out one request."""
        now = self._clock()
        item = apply(self.items.get(request.key, Item()), request, now)
        if request.operation != "get":
            self.items[request.key] = item
            if item == Item():
                del self.items[request.key]
        return item


class NoStore(Exception):
    """A rule asked for state where none is kept: in a test without a mock, or a dry run."""


def _no_store(request: Request, /) -> Item:
    raise NoStore(
        f"{request.operation} of key {request.key!r}: rules' state is not kept here"
        " (in a test, mock the caching function)"
    )


_store: Store = _no_store


def connect(store: Store | None) -> None:
    """Answer rules' requests by `store` from now on; None takes the door away."""
    global _store  # noqa: PLW0603 - one door per process, because rules reach it through module functions
    _store = _no_store if store is None else store


def request(request: Request) -> Item:
    """What the modules for rules call."""
    return _store(request)
