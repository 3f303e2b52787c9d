"""The lock that tells whether a process lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ingestd.state.locks import HeldLock, is_held

HOLD = """
import sys
from pathlib import Path
from ingestd.state.locks import HeldLock
print(HeldLock.take(Path(sys.argv[1])).path, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_until_released(tmp_path: Path) -> None:
    """Held while its owner wants, then gone; a file that is not there proves nothing."""
    lock = HeldLock.take(tmp_path / "instances")
    assert is_held(lock.path) is True
    lock.release()
    assert is_held(lock.path) is None
    lock.release()


def test_two_locks_never_share_a_name(tmp_path: Path) -> None:
    """Each process has a file of its own."""
    locks = [HeldLock.take(tmp_path) for _ in range(5)]
    assert len({lock.path for lock in locks}) == 5
    for lock in locks:
        lock.release()


def test_a_killed_process_lets_go_at_once(tmp_path: Path) -> None:
    """After SIGKILL the lock file is still there, and free."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        assert is_held(path) is True
        process.kill()
        process.wait(timeout=30)
        assert is_held(path) is False
