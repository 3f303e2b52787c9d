"""The unit under a real systemd, with every line of its hardening in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import machine
from tests.deploy.tools import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(machine.missing()), reason=f"no machine can be started: {machine.missing()}"),
]

CONFIG = """\
sources: {inbox: {type: directory, path: /srv/inbox, routes: [{log_types: [AWS.CloudTrail]}]}}
detections: {paths: [/etc/ingestd/rules]}
destinations: {record: {type: file, path: "${STATE_DIRECTORY}/alerts.jsonl"}}
lake: {url: "${STATE_DIRECTORY}/lake", rotate_secs: 2}
state: {path: "${STATE_DIRECTORY}/state.db"}
workers: {count: 1}
http: {listen: "127.0.0.1:9464", token: {credential: admin_token}}
"""

RULE_YAML = """\
AnalysisType: rule
RuleID: Curious
Filename: curious.py
Enabled: true
LogTypes: [AWS.CloudTrail]
Severity: Info
"""

RULE = '''\
"""Tries what a rule may not do, and says in the title how that went."""
import ctypes, mmap, os

def _tried(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"

def rule(event):
    return True

def title(event):
    writable_and_executable = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    return " ".join([
        _tried(lambda: mmap.mmap(-1, 4096, prot=writable_and_executable)),
        _tried(lambda: open("/etc/written", "w")),
        _tried(lambda: os.listdir("/root")),
        _tried(lambda: bytearray(2 << 30)),
        _tried(lambda: open(os.environ["CREDENTIALS_DIRECTORY"] + "/admin_token")),
        _tried(lambda: ctypes.CDLL(None)),
    ])

def dedup(event):
    return "one"
'''

DROP_IN = """\
[Service]
WatchdogSec=6
RestartSec=1
LoadCredential=admin_token:/etc/ingestd/admin_token
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `scenario.py` saw."""
    files = {
        "etc/ingestd/ingestd.yml": CONFIG,
        "etc/ingestd/admin_token": "token-of-the-test",
        "etc/ingestd/rules/curious.py": RULE,
        "etc/ingestd/rules/curious.yml": RULE_YAML,
        "etc/systemd/system/ingestd.service.d/test.conf": DROP_IN,
        "srv/inbox/cloudtrail.json": (REPOSITORY / "samples/cloudtrail.json").read_text(),
    }
    seen = machine.run(tmp_path_factory.mktemp("machine"), Path(__file__).parent / "scenario.py", files)
    return dict(json.loads(seen.read_text()))


def test_it_starts_when_it_is_ready(facts: dict[str, Any]) -> None:
    """As its own user, without capabilities, behind a filter of system calls."""
    start = facts["start"]
    assert (start["code"], start["unit"]["ActiveState"], start["unit"]["SubState"]) == (0, "active", "running")
    assert start["user"]
    assert (start["capabilities"], start["no_new_privileges"], start["filtered"]) == (0, "1", "2")


def test_it_works_within_its_sandbox(facts: dict[str, Any]) -> None:
    """Files are parsed, committed and alerted on; a rule gets no executable memory, no file, no credential, and not
    more memory than it may have."""
    assert facts["work"]["rows"] == 13
    assert "records/s" in facts["work"]["status"]
    (title,) = facts["work"]["alerts"]
    assert title.split() == ["PermissionError", "OSError", "PermissionError", "MemoryError", "KeyError", "done"]


def test_a_killed_worker_does_not_stop_the_unit(facts: dict[str, Any]) -> None:
    """Another takes its place; the daemon is the same."""
    assert facts["lose_a_worker"]["same_daemon"]
    assert facts["lose_a_worker"]["unit"]["ActiveState"] == "active"


def test_reloads(facts: dict[str, Any]) -> None:
    """A good configuration is applied; a broken one fails the command, with its line, and changes nothing."""
    assert facts["reload"]["code"] == 0
    assert facts["refuse_a_reload"]["code"] != 0
    assert facts["refuse_a_reload"]["unit"]["ActiveState"] == "active"
    assert "/etc/ingestd/ingestd.yml:8: nonsense" in facts["journal"]


def test_one_that_hangs_is_restarted(facts: dict[str, Any]) -> None:
    """No sign of life within the watchdog's limit: killed, started, at work again."""
    assert facts["hang"]["unit"]["NRestarts"] == "1"
    assert facts["hang"]["unit"]["ActiveState"] == "active"


def test_it_stops_by_itself(facts: dict[str, Any]) -> None:
    """Exit code 0, well within the limit."""
    stop = facts["stop"]
    assert (stop["code"], stop["unit"]["Result"], stop["unit"]["ExecMainStatus"]) == (0, "success", "0")
    assert stop["seconds"] < 25


def test_a_bad_configuration_is_not_tried_again(facts: dict[str, Any]) -> None:
    """Exit code 78, once."""
    refused = facts["refuse_to_start"]
    assert refused["code"] != 0
    assert refused["unit"]["ExecMainStatus"] == "78"
    assert refused["unit"]["NRestarts"] == "0"
