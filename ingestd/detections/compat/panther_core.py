"""Answers to `panther_core`."""

from ingestd.detections.compat import enriched_event, exceptions, immutable
from ingestd.detections.event import PantherEvent

__path__: list[str] = []  # a package to the import system: its submodules are in sys.modules
__all__ = ["PantherEvent", "enriched_event", "exceptions", "immutable"]
