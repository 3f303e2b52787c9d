"""From raw log files to alerts, by the rules that come with ingestd, through a real daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_docs_commands import files_shown

REPOSITORY = Path(__file__).resolve().parents[2]
CLOUDTRAIL = Path(os.environ.get("INGESTD_REAL_CLOUDTRAIL", REPOSITORY.parent / "shared" / "data" / "cloudtrail"))
CONFIG = f"""
sources: {{inbox: {{type: directory, path: ./inbox, settle_secs: 0}}}}
detections: {{paths: [{REPOSITORY / "detections"}], packs: [Ingestd.Core]}}
destinations: {{record: {{type: file, path: ./alerts.jsonl, per_minute: 10000}}}}
lake: {{url: ./lake, rotate_secs: 1}}
state: {{path: ./state.db}}
workers: {{count: 1}}
http: {{listen: "off"}}
logging: {{level: warning}}
"""


class Place:
    """A folder with an inbox, in which a daemon runs until it has read everything."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self._folder = folder
        self._shown = 0
        (folder / "ingestd.yml").write_text(CONFIG)

    def new_alerts(self) -> list[dict[str, Any]]:
        """Run the daemon; the alerts that were sent this time, by detection."""
        command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        sent = self._folder / "alerts.jsonl"
        lines = sent.read_text().splitlines() if sent.exists() else []
        alerts, self._shown = [json.loads(line) for line in lines[self._shown :]], len(lines)
        assert [alert["title"] for alert in alerts if alert["kind"] == "error"] == []
        return sorted(alerts, key=lambda alert: str(alert["detection_id"]))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty one."""
    return Place(tmp_path)


def test_the_sample_logs_of_each_cloud_make_the_alerts_that_a_newcomer_sees(place: Place) -> None:
    """CloudTrail, S3 access log, flow log, Entra ID, Google's audit log, Panoptica: no log type is named anywhere."""
    shutil.copytree(REPOSITORY / "samples", place.inbox, dirs_exist_ok=True)
    alerts = {alert["detection_id"]: alert for alert in place.new_alerts()}
    instance = "arn:aws:ec2:eu-central-1:111122223333:instance/i-0123456789abcdef0"
    assert {name: (one["severity"], one["title"]) for name, one in alerts.items()} == {
        "Ingestd.AWS.AdminPortFromInternet": ("HIGH", "SSH on 10.0.4.8 answers the internet"),
        "Ingestd.AWS.ConsoleLoginFailures": ("MEDIUM", "Many failed console sign-ins from 203.0.113.9"),
        "Ingestd.AWS.GlobalAdminBucketRead": ("MEDIUM", "mallory read from bucket payroll as GlobalAdministrator"),
        "Ingestd.AWS.PasswordPolicyDiscovery": (
            "INFO", "root looked up the password policy of account 111122223333"
        ),
        "Ingestd.AWS.RootConsoleLogin": (
            "CRITICAL", "Root user of account 111122223333 signed in from 203.0.113.9"
        ),
        "Ingestd.AWS.RootUserActed": ("MEDIUM", "Root user of account 111122223333 called StopLogging"),
        "Ingestd.AWS.TrailStopped": ("HIGH", "root made CloudTrail blind: StopLogging of organisation-trail"),
        "Ingestd.Azure.ManyFailedSignIns": (
            "MEDIUM", "Many failed sign-ins of ada@example.com, first from 203.0.113.9"
        ),
        "Ingestd.GCP.WorkforcePoolChanged": (
            "HIGH", "mallory@example.com created workforce pool partners of organisation 123456789012"
        ),
        "Ingestd.Panoptica.CriticalAttackPath": (
            "CRITICAL", f"Critical attack path to {instance} in 111122223333: Vulnerable Public Workload"
        ),
    }  # fmt: skip
    assert 5 <= alerts["Ingestd.AWS.ConsoleLoginFailures"]["match_count"] <= 6
    assert 10 <= alerts["Ingestd.Azure.ManyFailedSignIns"]["match_count"] <= 11
    assert alerts["Ingestd.Azure.ManyFailedSignIns"]["dedup"] == "ada@example.com"
    assert alerts["Ingestd.AWS.GlobalAdminBucketRead"]["context"]["key"] == "2026/october.csv"
    assert alerts["Ingestd.Panoptica.CriticalAttackPath"]["context"]["risk score"] == 94
    assert all(alert["runbook"] and alert["reports"]["MITRE ATT&CK"] for alert in alerts.values())


def _finding(name: str, day: int, *, resolved: bool = False, **keys: Any) -> dict[str, Any]:
    return {
        "alert_id": name,
        "tenant_id": "id-42",
        "account_id": "111122223333",
        "asset_id": f"arn:aws:s3:::{name}",
        "provider": "AWS",
        "resource_type": "Storage",
        "severity": "High",
        "risk_category": "Data Exposure",
        "detection_type": "security_finding",
        "resolved": resolved,
        "first_seen_timestamp": "2026-11-01T00:00:00Z",
        "detection_timestamp": f"2026-11-{day:02}T06:00:00Z",
        **keys,
    }


def _path(name: str, day: int, *, resolved: bool = False) -> dict[str, Any]:
    risk = {"risk_score": 90, "workload": "web", "risk_definitions": []}
    return _finding(name, day, resolved=resolved, severity="Critical", detection_type="attack_path", risk_params=risk)


def test_a_finding_that_each_scan_exports_again_alerts_once_and_again_when_it_comes_back(place: Place) -> None:
    """An array and an object alone; after a restart lines of the next scans: known, resolved, back, an old one."""

    def told() -> list[tuple[str, str]]:
        return [(alert["detection_id"].rpartition(".")[2], alert["dedup"]) for alert in place.new_alerts()]

    first = [_path("path", 1), _finding("leak", 1), _finding("dust", 1, severity="Low")]
    (place.inbox / "2026-11-01.json").write_text(json.dumps(first, indent=1))
    (place.inbox / "alone.json").write_text(json.dumps(_finding("alone", 1), indent=1))
    assert sorted(told()) == [
        ("CriticalAttackPath", "id-42:path"),
        ("NewFinding", "id-42:alone"),
        ("NewFinding", "id-42:leak"),
    ]

    known = [_path("path", 2), _finding("leak", 2), _path("path", 3, resolved=True)]
    back = [_path("path", 4), _path("path", 5), _finding("leak", 5), _finding("dust", 5, severity="Low")]
    late = [_finding("leak", 7, resolved=True), _finding("leak", 6)]  # what was open before it was resolved
    (place.inbox / "later.json").write_text("\n".join(map(json.dumps, known + back + late)))
    assert told() == [("FindingReturned", "id-42:path")]


def test_tuning_does_what_its_page_says(tmp_path: Path) -> None:
    """Packs, enable, disable, severity, threshold, destinations: each alert is where the configuration sends it."""
    for name in ("samples", "detections"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    config = files_shown(REPOSITORY / "docs" / "detections-tuning.md")["tuned/ingestd.yml"]
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "ingestd.yml").write_text(config)
    command = [sys.executable, "-m", "ingestd", "run", "--once", "--no-progress", "-c", "tuned/ingestd.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sent = {
        name: [json.loads(line) for line in (tmp_path / "tuned" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("on-call", "dev")
    }
    assert [(one["detection_id"], one["severity"]) for one in sent["on-call"]] == [
        ("Ingestd.AWS.RootConsoleLogin", "HIGH")
    ]
    assert [one["detection_id"] for one in sent["dev"]] == ["Ingestd.GCP.WorkforcePoolChanged"]
    assert "Critical attack path" in done.stdout
    assert "mallory read from bucket payroll" in done.stdout
    for silent in ("password policy", "console sign-ins", "workforce pool", "signed in from"):
        assert silent not in done.stdout


@pytest.mark.skipif(not CLOUDTRAIL.is_dir(), reason="the data set is not part of the project")
def test_an_hour_of_real_attacks_makes_a_handful_of_alerts(place: Place) -> None:
    """1,233 real events, of which most are an administrator's work: ten alerts, each of them for an attack."""
    for file in CLOUDTRAIL.glob("*.json"):
        shutil.copy(file, place.inbox)
    assert [alert["detection_id"].removeprefix("Ingestd.AWS.") for alert in place.new_alerts()] == [
        "BucketShortLifecycle",
        "ConsoleLoginWithoutMfa",
        "OrganizationLeft",
        "ParametersDecryptedInBulk",
        "SecretsReadInBulk",
        "SnapshotShared",
        "TrailNarrowed",
        "TrailStopped",
        "UserDataRead",
        "WindowsPasswordsRead",
    ]
