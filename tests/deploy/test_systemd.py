"""The unit, as systemd's own tools see it. `test_real_systemd` runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, run

UNITS = DEPLOY / "systemd"
NOTIFY_RELOAD_SINCE = 253
HIGHEST_EXPOSURE = 2.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the unit, the units of systemd and the programs that it starts."""
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    shutil.copy(UNITS / "ingestd.service", tmp_path / "etc/systemd/system")
    for name in ("opt/ingestd/bin/ingestd", "usr/bin/kill"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", tmp_path / name)
    return tmp_path


def version() -> int:
    """systemd's."""
    found = re.match(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    assert found
    return int(found[1])


def test_systemd_understands_every_line(root: Path) -> None:
    """No line on stderr: an unknown key is only a warning, and the exit code is 0 all the same."""
    verdict = run("systemd-analyze", "verify", f"--root={root}", "ingestd.service")
    assert (verdict.returncode, verdict.stderr) == (0, "")


def test_the_drop_in_is_for_systemd_253(root: Path) -> None:
    """Newer versions understand it; older ones say that they do not, and a notify daemon would never be ready."""
    drop_ins = root / "etc/systemd/system/ingestd.service.d"
    drop_ins.mkdir()
    shutil.copy(UNITS / "notify-reload.conf", drop_ins)
    verdict = run("systemd-analyze", "verify", f"--root={root}", "ingestd.service")
    if version() >= NOTIFY_RELOAD_SINCE:
        assert verdict.stderr == ""
    else:
        assert set(verdict.stderr.splitlines()) == {
            f"{drop_ins}/notify-reload.conf:4: Failed to parse service type, ignoring: notify-reload"
        }


def test_the_daemon_is_exposed_little() -> None:
    """systemd rates the sandbox: 0 is none at all, 10 everything; a plain service has 9.6."""
    rating = run("systemd-analyze", "security", "--offline=true", "--json=short", UNITS / "ingestd.service")
    findings = json.loads(rating.stdout)
    assert findings
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / "ingestd.service").stdout
    overall = re.search(r"Overall exposure level for ingestd.service: ([\d.]+)", text)
    assert overall
    assert float(overall[1]) < HIGHEST_EXPOSURE


def test_what_would_fail_again_is_not_restarted() -> None:
    """Exit codes of usage and configuration, and the stop limit beside `shutdown_secs`, are those of the manual."""
    unit = (UNITS / "ingestd.service").read_text()
    assert "RestartPreventExitStatus=2 78\n" in unit
    assert "Restart=on-failure\n" in unit
    assert "OOMPolicy=continue\n" in unit
    stop_secs = re.search(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert stop_secs
    assert int(stop_secs[1]) > 25 + 10
