"""The contract of a destination: where alerts are sent.

A destination is one file of this package (or an entry point in `ingestd.destinations`) whose name is its
YAML `type`: a pydantic `Config` (a subclass of `ingestd.config.models.DestinationConfig`) and
`build(name: str, config: Config) -> Destination`.
`tests/conformance/test_destinations.py` holds every destination to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ingestd.model import Alert, Check


class Destination(ABC):
    """Delivers one alert at a time. The outbox decides when to repeat; a destination never retries itself."""

    name: str
    exactly_once: bool = False
    """True when a repeat of the same `alert_id` cannot reach a person twice, because the provider has a
    key or can be asked."""

    @abstractmethod
    async def send(self, alert: Alert) -> str:
        """Deliver; answer the provider's reference ("" when it has none).

        Raises `Retryable` (timeouts, connection errors, 408, 429, 5xx; `retry_after` from the response) or
        `Permanent` (any other refusal: the configuration or the payload is wrong). A time-out counts as not
        sent. Idempotent by `alert.alert_id` where `exactly_once`. No secret is in any message raised.
        """

    @abstractmethod
    async def check(self) -> list[Check]:
        """Try the credentials without alerting anyone, as far as the provider allows."""

    @abstractmethod
    async def close(self) -> None:
        """Idempotent."""
