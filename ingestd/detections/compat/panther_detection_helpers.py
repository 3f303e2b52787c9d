"""Answers to `panther_detection_helpers`."""

from ingestd.detections.compat import caching, mocking

__path__: list[str] = []  # a package to the import system: its submodules are in sys.modules
__all__ = ["caching", "mocking"]
