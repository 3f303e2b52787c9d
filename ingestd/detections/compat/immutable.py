"""Answers to `panther_core.immutable`."""

from ingestd.detections.immutable import ImmutableCaseInsensitiveDict, ImmutableList

__all__ = ["ImmutableCaseInsensitiveDict", "ImmutableList"]
