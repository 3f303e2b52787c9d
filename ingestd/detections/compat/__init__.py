"""Modules that public rules import by name, answered by ingestd's own.

Written from the published behaviour of the format; nothing of the original packages is in here, and where they
are installed they are not used: `install` puts ours first.
"""

from __future__ import annotations

import importlib
import sys

_HERE = __name__

NAMES = {
    "panther_core": f"{_HERE}.panther_core",
    "panther_core.immutable": f"{_HERE}.immutable",
    "panther_core.enriched_event": f"{_HERE}.enriched_event",
    "panther_core.exceptions": f"{_HERE}.exceptions",
    "panther_detection_helpers": f"{_HERE}.panther_detection_helpers",
    "panther_detection_helpers.caching": f"{_HERE}.caching",
    "panther_detection_helpers.mocking": f"{_HERE}.mocking",
}
"""Public module name to the module here that answers to it."""


def install() -> None:
    """Make the public names importable in this process. Only workers and test runs call this."""
    for public, ours in NAMES.items():
        sys.modules[public] = importlib.import_module(ours)
