"""What would run on other machines: on this one it leaves the cores to the daemon, as far as that wants them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

NICE = 10
"""More than the daemon's children have: what is measured is whether those are in its way, not what answers it."""


def move(pid: int) -> None:
    """A process with all its threads."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), NICE)


def move_this_thread() -> None:
    """And what it begins."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
