"""Which rules could say yes to an event."""

from __future__ import annotations

from ingestd.detections.datamodels import DataModel
from ingestd.detections.event import PantherEvent
from ingestd.detections.runnable import Runnable


class Plan:
    """The rules of one log type."""

    def __init__(self, runnables: tuple[Runnable, ...], data_model: DataModel | None, routing: bool) -> None:
        self.data_model = data_model
        self._all = runnables

    def candidates(self, event: PantherEvent) -> tuple[Runnable, ...]:
        """The rules to run, in the order of their ids."""
        return self._all
