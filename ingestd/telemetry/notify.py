"""What systemd is told: readiness, reloads, the end, a line of status, and signs of life.

The protocol of `sd_notify(3)`: one datagram of `NAME=value` lines to the socket named in the environment. Without a
supervisor every call does nothing. None raises: work must not end because nobody can be told about it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

from ingestd.telemetry import occurrences

SEND_SECS = 0.5
"""systemd reads its socket at once; one that does not must not hold up the event loop."""
STATUS_SECS = 10.0
MAX_STATUS = 200


class Notifier:
    """Tells the supervisor at `address` (a path, or `@name` for an abstract socket); None when there is none."""

    def __init__(self, address: str | None, watchdog_limit_secs: float | None = None) -> None:
        self._address = address
        self._watchdog_limit_secs = watchdog_limit_secs
        self._unreachable = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """As systemd set it up for this process."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        return cls(address, _watchdog_limit(environment))

    @property
    def watchdog_secs(self) -> float | None:
        """How often `watchdog` is to be called: twice within the supervisor's limit. None: it asks for no signs."""
        return None if self._watchdog_limit_secs is None else self._watchdog_limit_secs / 2

    @property
    def listened_to(self) -> bool:
        """Whether there is a supervisor."""
        return self._address is not None

    def ready(self) -> None:
        """Everything is up; or a reload is over, applied or not."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. Its time tells systemd that this is the reload that it asked for."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, within_secs: float) -> None:
        """The drain begins and takes up to `within_secs`, even where the unit's own limit is shorter."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(within_secs * 1_000_000)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())[:MAX_STATUS]}")

    def watchdog(self) -> None:
        """A sign of life, where signs are asked for."""
        if self._watchdog_limit_secs is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
                datagrams.settimeout(SEND_SECS)
                datagrams.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if not self._unreachable:
                occurrences.supervisor_unreachable(error)
            self._unreachable = True
        else:
            self._unreachable = False


async def beat(notifier: Notifier, *, status: Callable[[], str], moving: Callable[[], bool]) -> None:
    """Tell the status and, while `moving`, give signs of life, until cancelled. Ends at once without a supervisor."""
    if not notifier.listened_to:
        return
    while True:
        notifier.status(status())
        if moving():
            notifier.watchdog()
        await asyncio.sleep(min(STATUS_SECS, notifier.watchdog_secs or STATUS_SECS))


def _watchdog_limit(environment: Mapping[str, str]) -> float | None:
    """Seconds; None when no signs are asked for, or not of this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
