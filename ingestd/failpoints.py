"""Named points at which a test can end the process as a power cut would.

`INGESTD_FAILPOINT=name` or `name:3` (the third passage) kills this process with SIGKILL on reaching
`hit(name)`. Unset, which is always so outside the proofs, a passage is one truth test.
The names are listed in `NAMES`; the kill-loop test goes through each of them, and `OF_SCHEDULES`.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "alerts.before_transaction",
    "alerts.after_transaction",
    "lake.before_prepare",
    "lake.after_prepare",
    "lake.after_staged_file",
    "lake.before_commit",
    "lake.after_commit",
    "lake.after_publish_file",
    "lake.before_published_mark",
    "source.before_ack",
    "source.after_ack",
    "outbox.before_send",
    "outbox.after_send",
    "outbox.after_sent_mark",
)
OF_SCHEDULES = ("schedule.before_commit", "schedule.after_commit")
"""Points of work by the clock, which has a proof of its own."""

_spec = os.environ.get("INGESTD_FAILPOINT", "")
_name, _, _count = _spec.partition(":")
_left = int(_count or 1)


def hit(name: str) -> None:
    """Pass the point `name`; does not return when the environment armed it for this passage."""
    global _left  # noqa: PLW0603 - armed once per process, by the environment
    if _name and name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
