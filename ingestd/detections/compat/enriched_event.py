"""Answers to `panther_core.enriched_event`."""

from ingestd.detections.event import PantherEvent

__all__ = ["PantherEvent"]
