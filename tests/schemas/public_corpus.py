"""The public detections with their tests, where they are at hand: logs of many types, and what rules say of them.

`INGESTD_PUBLIC_RULES` names a checkout, or a bare repository. Nothing of it lies in this repository.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from ingestd.detections.loading.detection_set import DetectionSet
from ingestd.detections.runnable import Runnable
from ingestd.detections.testing.suite import load_for_tests

_ROOT = Path(__file__).parents[3]
PLACE = Path(os.environ.get("INGESTD_PUBLIC_RULES", _ROOT / ".mirror" / "panther-labs+panther-analysis" / "repo"))
needed = pytest.mark.skipif(not PLACE.is_dir(), reason="INGESTD_PUBLIC_RULES names no folder of public detections")


class Sample(NamedTuple):
    """One test of a detection that has a log."""

    log_type: str
    detection_id: str
    runnable: Runnable
    number: int
    test: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """The log as its producer wrote it: without the standard fields."""
        return {key: value for key, value in self.test["Log"].items() if not key.startswith("p_")}


@lru_cache
def _unpacked() -> TemporaryDirectory[str]:
    """Goes away with the process."""
    return TemporaryDirectory(prefix="public-rules-")


@lru_cache
def folder() -> Path:
    """A folder with the files, unpacked from the repository where that is bare."""
    if not (PLACE / "HEAD").is_file() or (PLACE / ".git").exists():
        return PLACE
    packed = subprocess.run(["git", "-C", PLACE, "archive", "HEAD"], check=True, capture_output=True).stdout
    place = Path(_unpacked().name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(place, filter="data")
    return place


@lru_cache
def detections() -> DetectionSet:
    """All of them, with their tests."""
    return load_for_tests((str(folder()),))


def samples() -> Iterator[Sample]:
    """Every test with a log, by the log's own type, else the detection's first."""
    loaded = detections()
    for detection_id, runnable in loaded.runnables.items():
        detection = loaded.detections[detection_id]
        for number, test in enumerate(detection.tests):
            if isinstance(test, dict) and isinstance(test.get("Log"), dict):
                log_type = test["Log"].get("p_log_type") or next(iter(detection.log_types), "")
                yield Sample(log_type, detection_id, runnable, number, test)
