"""Answers to `panther_core.exceptions`."""

from ingestd.detections.event import PantherError
from ingestd.detections.returns import FunctionReturnTypeError, UnknownDestinationError

__all__ = ["FunctionReturnTypeError", "PantherError", "UnknownDestinationError"]
