"""A machine of its own for one test: systemd as the first process, on an overlay of this machine's file system.

It needs root. Everything that it writes lies in a tmpfs of a mount namespace that ends with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.deploy.tools import DEPLOY, REPOSITORY, program

BOOT = """\
set -eu
cd {folder}
mkdir disk && mount -t tmpfs tmpfs disk && mkdir disk/upper disk/work disk/root
mount -t overlay overlay -o lowerdir=/,upperdir=disk/upper,workdir=disk/work disk/root
cp -r {folder}/files/. disk/root/
{nspawn} --register=no --keep-unit --quiet --boot --directory={folder}/disk/root --private-network \\
  --link-journal=no --bind-ro={prefix}:/opt/python --bind-ro={packages}:/opt/packages \\
  systemd.unit=scenario.target >boot.log 2>&1 || true
cp disk/root/facts.json .
"""

LAUNCHER = """\
#!/bin/sh
export PYTHONPATH=/opt/ingestd/lib:/opt/packages LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
exec /opt/python/bin/{python} -m ingestd "$@"
"""

SERVICE = """\
[Unit]
DefaultDependencies=no
After=basic.target systemd-journald.service
[Service]
Type=oneshot
Environment=LD_LIBRARY_PATH=/opt/python/lib
ExecStart=/opt/python/bin/{python} /scenario.py
TimeoutStartSec=240
ExecStopPost=/bin/systemctl --force --no-block poweroff
"""

TARGET = """\
[Unit]
Requires=sysinit.target scenario.service
After=sysinit.target
"""


def missing() -> str:
    """Why no machine can be started here; empty when one can."""
    if os.geteuid() != 0:
        return "only root can start a machine"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return tried.stderr


def run(folder: Path, scenario: Path, files: dict[str, str]) -> Path:
    """Install ingestd and the files, boot, run the scenario (a Python file) and power off; its `facts.json`."""
    root = folder / "files"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    units = "etc/systemd/system"
    texts = {
        "opt/ingestd/bin/ingestd": LAUNCHER.format(python=python),
        f"{units}/scenario.service": SERVICE.format(python=python),
        f"{units}/scenario.target": TARGET,
        "scenario.py": scenario.read_text(),
        f"{units}/ingestd.service": (DEPLOY / "systemd/ingestd.service").read_text(),
        "usr/lib/sysusers.d/ingestd.conf": (DEPLOY / "systemd/ingestd.sysusers").read_text(),
    }
    for name, text in (texts | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "opt/ingestd/bin/ingestd").chmod(0o755)
    shutil.copytree(REPOSITORY / "ingestd", root / "opt/ingestd/lib/ingestd", ignore=shutil.ignore_patterns("*.pyc"))
    boot = BOOT.format(
        folder=folder,
        nspawn=program("systemd-nspawn"),
        prefix=sys.base_prefix,
        packages=sysconfig.get_paths()["purelib"],
    )
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", boot],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    log = folder / "boot.log"
    assert (folder / "facts.json").exists(), ended.stderr + (log.read_text() if log.exists() else "")
    return folder / "facts.json"
