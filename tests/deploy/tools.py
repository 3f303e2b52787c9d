"""Programs that check what is deployed. One that is missing fails the test: nothing is skipped in silence."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"


def program(name: str) -> str:
    """Path of a program: of this environment, of the machine, or unpacked by `scripts/debian-tools`."""
    places = (Path(sys.executable).parent, REPOSITORY / ".venv/debian/usr/bin")
    found = shutil.which(name) or next((str(place / name) for place in places if (place / name).is_file()), None)
    assert found, f"{name} is missing: run scripts/debian-tools (as `make test` does)"
    return found


def run(*command: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in the repository."""
    first, *rest = map(str, command)
    return subprocess.run(
        [program(first), *rest], input=stdin, capture_output=True, text=True, timeout=120, cwd=REPOSITORY, check=False
    )
