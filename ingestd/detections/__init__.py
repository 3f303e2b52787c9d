"""Detections, in the child: the public format of rules, and the engine that runs them."""

from ingestd.detections.engine import Engine
from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.options import Options, Override
from ingestd.detections.watch import Watch

__all__ = ["DetectionSet", "Engine", "Options", "Override", "Watch"]
