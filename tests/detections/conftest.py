"""A folder of detections that a test fills, and its engine."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingestd.detections import DetectionSet, Engine, Options, Watch

EVENT: dict[str, Any] = {
    "p_row_id": "00ff" * 8,
    "p_event_time": "2026-01-02 03:04:05.678",
    "p_log_type": "Test.Log",
    "name": "login",
    "user": {"name": "ana", "roles": ["admin", "dev"]},
    "empty": None,
}


class Fork:
    """A folder as a team keeps it, with short-hands to write into it and to load it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        """A file below the root, dedented."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def rule(self, rule_id: str, code: str | None = None, **keys: Any) -> Path:
        """A rule of `code`, with `keys` in its YAML; returns the YAML's path."""
        folder = "policies" if keys.get("AnalysisType") == "policy" else "rules"
        data: dict[str, Any] = {"AnalysisType": "rule", "Enabled": True, "Severity": "High"}
        if folder == "policies":
            data |= {"PolicyID": rule_id}
        else:
            data |= {"RuleID": rule_id}
            if keys.get("AnalysisType", "rule") == "rule":
                data |= {"LogTypes": ["Test.Log"]}
        if code is not None:
            self.write(f"{folder}/{rule_id}.py", code)
            data["Filename"] = f"{rule_id}.py"
        return self.item(f"{folder}/{rule_id}.yml", data | keys)

    def item(self, name: str, data: dict[str, Any]) -> Path:
        """A YAML file of `data`."""
        return self.write(name, yaml.safe_dump(data, sort_keys=False))

    def helper(self, name: str, code: str) -> None:
        """A global helper."""
        self.write(f"global_helpers/{name}.py", code)
        data = {"AnalysisType": "global", "GlobalID": name, "Filename": f"{name}.py"}
        self.item(f"global_helpers/{name}.yml", data)

    def load(self, **options: Any) -> DetectionSet:
        """Load the folder."""
        return DetectionSet.load(Options(paths=(str(self.root),), **options))

    def engine(self, watch: Watch | None = None, **options: Any) -> Engine:
        """An engine of the folder, loaded."""
        return Engine(self.load(**options), watch or Watch())


@pytest.fixture
def fork(tmp_path: Path) -> Fork:
    """An empty folder for detections."""
    return Fork(tmp_path)


@pytest.fixture
def event() -> dict[str, Any]:
    """A small normalised event, fresh for each test."""
    return {**EVENT, "user": {"name": "ana", "roles": ["admin", "dev"]}}
