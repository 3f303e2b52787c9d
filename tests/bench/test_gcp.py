"""The bench of Google Cloud runs, and both of its sides read everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_prints_each_side() -> None:
    """What the server gives, Google's clients and the daemon, in one run; nothing is left by either."""
    command = [sys.executable, "-m", "bench.gcp", "--small", "30", "--big", "0", "--events", "0"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout
    for name in ("the server can give", "pull, read, json.loads", "daemon"):
        assert name in output
