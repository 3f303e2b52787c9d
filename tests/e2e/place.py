"""A folder with a configuration, detections and an inbox, and a daemon that drains it: for tests of whole paths."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from ingestd.cli.main import main
from tests.proofs import checker


class Place:
    """Everything lies under `folder`; `config` may be changed before each run."""

    def __init__(self, folder: Path, log_types: list[str] | None = None, *, name: str = "") -> None:
        self.folder = folder
        self.inbox, self.lake, self.sent = folder / f"inbox{name}", folder / f"lake{name}", folder / f"sent{name}"
        self.environment: dict[str, str] = {}
        self.log = ""
        """What the daemons wrote so far."""
        self.inbox.mkdir(parents=True)
        (folder / "rules").mkdir(exist_ok=True)
        self._file = folder / f"ingestd{name}.yml"
        route = {"log_types": log_types or ["AWS.CloudTrail"]}
        source = {"type": "directory", "path": str(self.inbox), "settle_secs": 0, "routes": [route]}
        self.config: dict[str, Any] = {
            "sources": {f"inbox{name}": source},
            "detections": {"paths": [str(folder / "rules")]},
            "destinations": {"record": self.destination("record")},
            "lake": {"url": str(self.lake), "rotate_secs": 1},
            "state": {"path": str(folder / "state.db")},
            "workers": {"count": 1},
            "http": {"listen": "off"},
        }

    def destination(self, name: str, **settings: Any) -> dict[str, Any]:
        """A file that alerts are appended to."""
        return {"type": "file", "path": str(self.sent / f"{name}.jsonl"), "per_minute": 100_000, **settings}

    def rule(self, rule_id: str, code: str, **keys: Any) -> None:
        """A detection of `code`, with `keys` in its YAML."""
        data = {"AnalysisType": "rule", "Enabled": True, "Severity": "High", "Filename": f"{rule_id}.py", **keys}
        if data["AnalysisType"] == "policy":
            data["PolicyID"] = rule_id
        else:
            data = {"RuleID": rule_id, "LogTypes": ["AWS.CloudTrail"], **data}
        self.item(rule_id, data, code)

    def item(self, name: str, data: dict[str, Any], code: str | None = None) -> None:
        """Files of an item of a fork."""
        (self.folder / "rules" / f"{name}.yml").write_text(yaml.safe_dump(data, sort_keys=False))
        if code is not None:
            (self.folder / "rules" / f"{name}.py").write_text(textwrap.dedent(code))

    def drop(self, name: str, records: list[dict[str, Any]]) -> None:
        """A file of these records in the inbox."""
        (self.inbox / name).write_text("".join(json.dumps(record) + "\n" for record in records))

    def write_config(self) -> Path:
        """The configuration as a file."""
        self._file.write_text(yaml.safe_dump(self.config))
        self.sent.mkdir(exist_ok=True)
        return self._file

    def start(self) -> subprocess.Popen[str]:
        """A daemon that drains the inbox and stops."""
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", str(self.write_config())]
        env = {**os.environ, **self.environment}
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, cwd=self.folder)

    def run(self) -> None:
        """Drain the inbox."""
        daemon = self.start()
        self.log += daemon.communicate(timeout=120)[1]
        assert daemon.returncode == 0, self.log[-3000:]

    def command(self, *arguments: str) -> str:
        """What a command that succeeds says on stdout."""
        argv = ["ingestd", *arguments, "-c", str(self.write_config())]
        code: object = 0
        with patch("sys.argv", argv), redirect_stdout(io.StringIO()) as out:
            try:
                main()
            except SystemExit as ended:
                code = ended.code
        assert not code, out.getvalue()
        return out.getvalue()

    def alerts(self, destination: str = "record") -> list[dict[str, Any]]:
        """Alerts that a destination got, in the order of their titles."""
        file = self.sent / f"{destination}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted((json.loads(line) for line in lines), key=lambda alert: str(alert["title"]))

    def rows(self, table: str, *columns: str) -> list[tuple[object, ...]]:
        """The columns of every row of a table."""
        return checker.parquet_rows(self.lake, table, list(columns))


def event(name: str, **fields: Any) -> dict[str, Any]:
    """A CloudTrail record."""
    return {
        "eventVersion": "1.08",
        "eventTime": "2026-11-01T10:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "203.0.113.7",
        "eventID": f"event-{name}",
        "eventType": "AwsApiCall",
        "recipientAccountId": "111122223333",
        "userIdentity": {"type": "IAMUser", "userName": "ana"},
        **fields,
    }
