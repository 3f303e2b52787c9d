"""The contract of a source: one configured subscription that hands out leased messages.

A source is one file of this package (or an entry point in the group `ingestd.sources`) whose name is its
YAML `type`. The file has a pydantic model `Config` (a subclass of `ingestd.config.models.SourceConfig`) and a
function `build(name: str, config: Config, state: State) -> Source` (`state` is the daemon's, for sources that
have to remember). It imports its SDK inside `build`.

Beside them stands `stores(config) -> dict[str, dict[str, Any]]` when messages name objects: the stores that may be
read from, each with the arguments of its `build`. A message that names any other store is refused.
`tests/conformance/test_sources.py` holds every source to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ingestd.model import Check, Delivery


class Source(ABC):
    """A subscription. All methods are called from one event loop; several may be under way at once.

    Life: `build` → `receive`/`extend`/`ack`/`nack` any number of times → `close`. `close` may be called
    twice, and without a `receive` before it.
    """

    name: str
    lease_secs: float
    """How long a message stays ours after `receive` or `extend`."""
    lease_limit_secs: float
    """How long in all a message can be held, extensions included (SQS: 12 h); `inf` if unlimited."""
    max_receives: int | None = None
    """How often a message is handed out before it is set aside; None where the queue itself sees to that."""

    @abstractmethod
    async def receive(self, limit: int, wait_secs: float) -> list[Delivery]:
        """Up to `limit` messages, as soon as there is one; after `wait_secs` without any, an empty list.

        May be cancelled at any time without losing a message for longer than its lease. Raises `Retryable`
        when the service cannot be reached now, `Permanent` when it refuses us for good. An empty answer
        after `wait_secs == 0` means "nothing is there" and ends `run --once`.
        """

    @abstractmethod
    async def extend(self, deliveries: Sequence[Delivery], lease_secs: float) -> list[Delivery]:
        """Hold the messages for `lease_secs` from now. Answers those still ours, with fresh receipts;
        one that is missing from the answer was lost to another consumer. Raises `Retryable`."""

    @abstractmethod
    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Finish the messages for good. Idempotent; a message that is no longer ours is not an error.
        Raises `Retryable` when any is still unfinished: the caller repeats the call."""

    @abstractmethod
    async def nack(self, deliveries: Sequence[Delivery], delay_secs: float = 0.0) -> None:
        """Give the messages back, to be received again after `delay_secs`. Idempotent; never raises for
        a message that is no longer ours."""

    @abstractmethod
    async def dead_letter(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Set the message aside where an operator finds it, with the reason, and acknowledge it. The copy is
        durable before the original goes. A source without such a place only acknowledges: the caller
        has already written the reject."""

    @abstractmethod
    async def check(self) -> list[Check]:
        """Try each permission that the source needs, changing nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and watches. Held messages are the caller's to give back before."""

    def stop(self) -> None:  # noqa: B027 - most sources come back soon by themselves
        """Nothing more is wanted: a `receive` under way may come back at once, with nothing. Idempotent."""

    async def depth(self) -> int | None:
        """Messages waiting, where the service can say; None otherwise."""
        return None
