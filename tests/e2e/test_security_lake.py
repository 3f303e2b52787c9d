"""Amazon Security Lake, from its Parquet files to alerts and the lake: a whole daemon, a folder, a rule."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CONFIG = """\
sources:
  lake:
    type: directory
    path: inbox
    settle_secs: 0
    routes: [{log_types: [OCSF.ApiActivity, OCSF.Authentication]}]
detections: {paths: [rules]}
destinations: {record: {type: file, path: alerts.jsonl}}
workers: {count: 1}
http: {listen: "off"}
logging: {level: warning}
"""
RULE = """\
def rule(event):
    return event.deep_get("api", "operation") == "DeleteTrail"


def title(event):
    return f"{event.deep_get('actor', 'user', 'name')} in {event.deep_get('unmapped', 'team')}"
"""
RULE_YAML = """\
AnalysisType: rule
RuleID: Trail.Deleted
Filename: trail_deleted.py
Enabled: true
LogTypes: [OCSF.ApiActivity]
Severity: High
"""
PRODUCT = {"name": "CloudTrail", "vendor_name": "AWS", "feature": {"name": "Management"}}


def call(number: int, operation: str) -> dict[str, object]:
    """A call of an API, with fields that are often null, a list, a map, as the service writes it."""
    return {
        "metadata": {"version": "1.1.0", "product": PRODUCT, "uid": f"uid-{number}", "profiles": ["cloud"]},
        "time": 1_714_557_600_000 + number,
        "class_uid": 6003,
        "class_name": "API Activity",
        "category_uid": 6,
        "activity_id": 1,
        "type_uid": 600301,
        "severity_id": 1,
        "cloud": {"provider": "AWS", "region": "us-east-1"},
        "api": {"operation": operation, "response": None, "request": {"uid": f"r{number}"}},
        "actor": {"user": {"name": "ada", "uid": "AIDA"}},
        "src_endpoint": {"ip": "198.51.100.70"},
        "resources": [{"uid": "arn:aws:s3:::bucket"}],
        "status": None,
        "unmapped": [("team", "blue")],
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration, a rule, and a file of two row groups of API calls and one that is cut off."""
    (tmp_path / "ingestd.yml").write_text(CONFIG)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "trail_deleted.py").write_text(RULE)
    (tmp_path / "rules" / "trail_deleted.yml").write_text(RULE_YAML)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    rows = [call(number, "DeleteTrail" if number == 7 else "GetObject") for number in range(3000)]
    schema = pa.Table.from_pylist([dict(rows[0], unmapped=None, status="x")]).schema
    schema = schema.set(schema.get_field_index("unmapped"), pa.field("unmapped", pa.map_(pa.string(), pa.string())))
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, inbox / "api.parquet", compression="zstd", row_group_size=2000)
    (inbox / "cut.parquet").write_bytes((inbox / "api.parquet").read_bytes()[:-50])
    return tmp_path


def test_parquet_of_security_lake_becomes_events_and_alerts(place: Path) -> None:
    """Every row once, typed and with its indicators; the cut file is one reject."""
    ended = subprocess.run(
        [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "ingestd.yml"],
        cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    events = duckdb.execute(
        f"select count(*), count(distinct p_row_id), min(p_event_time AT TIME ZONE 'UTC')::text, "
        "any_value(p_any_ip_addresses), "
        f"any_value(api.operation) from read_parquet('{place}/lake/events/**/*.parquet')"
    ).fetchall()
    assert events == [(3000, 3000, "2024-05-01 10:00:00", ["198.51.100.70"], "GetObject")]
    rejects = duckdb.execute(
        f"select reason, ordinal from read_parquet('{place}/lake/rejects/**/*.parquet')"
    ).fetchall()
    assert rejects == [("truncated", 0)]
    (alert,) = map(json.loads, (place / "alerts.jsonl").read_text().splitlines())
    assert alert["title"] == "ada in blue"
