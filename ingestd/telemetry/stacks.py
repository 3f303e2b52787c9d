"""Where everything is: stacks of tasks and threads. They show code, never data."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import traceback

DEPTH = 8
"""Frames per task: the await that it hangs at and how it came there."""


def tasks() -> str:
    """Every task of the running event loop and where it waits."""
    out = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        task.print_stack(file=out, limit=DEPTH)
    return out.getvalue()


def threads() -> str:
    """Every thread of this process and where it is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"--- {names.get(ident, ident)}\n" + "".join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items()
    )
