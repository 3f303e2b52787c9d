"""Modules that public rules import by name, answered by ingestd's own.

Written from the published behaviour of the format; nothing of the original packages is in here, and where they
are installed they are not used: `install` puts ours first.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

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

WHEN_IMPORTED = {"boto3": f"{_HERE}.boto3", "boto3.session": f"{_HERE}.boto3"}
"""The same, for modules that are there only once a rule imports them."""

WHERE_ABSENT = {"botocore": f"{_HERE}.botocore", "botocore.exceptions": f"{_HERE}.botocore"}
"""The same, for modules that are answered only where they are not installed."""


class _Door(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers imports of `WHEN_IMPORTED` and `WHERE_ABSENT`."""

    def __init__(self) -> None:
        absent = importlib.machinery.PathFinder.find_spec("botocore") is None
        self._modules = {**WHEN_IMPORTED, **(WHERE_ABSENT if absent else {})}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the import protocol."""
        if fullname not in self._modules:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package="." not in fullname)

    def exec_module(self, module: ModuleType) -> None:
        """Part of the import protocol: the module that is asked for becomes the one of ours."""
        sys.modules[module.__name__] = importlib.import_module(self._modules[module.__name__])


def install() -> None:
    """Make the public names importable in this process. Only workers and test runs call this."""
    for public, ours in NAMES.items():
        sys.modules[public] = importlib.import_module(ours)
    if not any(isinstance(finder, _Door) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Door())
        for public, ours in WHEN_IMPORTED.items():
            if sys.modules.get(public) is not sys.modules.get(ours):
                sys.modules.pop(public, None)  # imported before: who imports it again from here on gets ours
