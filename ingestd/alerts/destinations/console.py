"""Alerts as lines to read, on standard output. Coloured on a terminal only, and not where NO_COLOR is set."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import Annotated, TextIO

from pydantic import Field

from ingestd.alerts.destinations.base import Destination
from ingestd.alerts.destinations.text import pretty_context, printable, shorten
from ingestd.config.models import DestinationConfig
from ingestd.errors import Permanent, Retryable
from ingestd.model import Alert, Check, Severity

_COLOURS: dict[Severity, str] = {
    "INFO": "\x1b[36m",
    "LOW": "\x1b[34m",
    "MEDIUM": "\x1b[33m",
    "HIGH": "\x1b[31m",
    "CRITICAL": "\x1b[1;37;41m",
}
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_PIECE = 4_096
"""No larger than what a pipe takes without blocking once it is writable."""
_MAX_LINE = 500
_MAX_CONTEXT_LINES = 12
_SEVERITY_WIDTH = 8


class Config(DestinationConfig):
    """Alerts on standard output, for people."""

    concurrency: Annotated[int, Field(ge=1, le=1)] = 1
    """Always one, so that the lines of two alerts do not mix."""
    per_minute: Annotated[int, Field(ge=1)] = 6_000
    """Alerts shown per minute at most; the others wait."""
    context: bool = True
    """Whether to show the beginning of the alert's context."""


class ConsoleDestination(Destination):
    """See the module. A reader that does not read (a full pipe) holds up this destination alone."""

    def __init__(self, name: str, config: Config, stream: TextIO | None = None) -> None:
        self.name = name
        self._config = config
        self._stream = sys.stdout if stream is None else stream
        self._coloured = not self._stream.closed and self._stream.isatty() and not os.environ.get("NO_COLOR")

    async def send(self, alert: Alert) -> str:
        """See `Destination`."""
        text = render(alert, coloured=self._coloured, context=self._config.context)
        await asyncio.to_thread(self._write, text.encode("utf-8", "replace"))
        return ""

    async def check(self) -> list[Check]:
        """See `Destination`."""
        return [Check(what=f"destination {self.name}: standard output", ok=not self._stream.closed)]

    async def close(self) -> None:
        """See `Destination`."""

    def _write(self, data: bytes) -> None:
        """In a thread, waiting for the reader within the time allowed, so that the thread never hangs."""
        try:
            descriptor = self._stream.fileno()
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            while data:
                if not poll.poll(1000 * self._config.timeout_secs):
                    raise Retryable(f"{self.name}: nobody reads standard output")
                data = data[os.write(descriptor, data[:_PIECE]) :]
        except (BrokenPipeError, ValueError):
            raise Permanent(f"{self.name}: standard output is closed", reason="closed") from None
        except OSError as error:
            raise Retryable(f"{self.name}: standard output cannot be written: {error.strerror}") from None


def render(alert: Alert, *, coloured: bool, context: bool) -> str:
    """The lines of one alert."""
    colour, dim, bold, plain = (_COLOURS[alert.severity], _DIM, _BOLD, _PLAIN) if coloured else ("", "", "", "")
    when = alert.first_event_time.partition(".")[0]
    severity = f"{colour}{alert.severity:{_SEVERITY_WIDTH}}{plain}"
    title = shorten(printable(alert.title, one_line=True), _MAX_LINE)
    matches = "1 match" if alert.match_count == 1 else f"{alert.match_count} matches"
    kind = "" if alert.kind == "rule" else f"{alert.kind} of "
    where = f" in {', '.join(alert.log_types)}" if alert.log_types else ""
    first = printable(f"{kind}{alert.detection_id}: {matches}{where}", one_line=True)
    since = printable(f", first event {when}", one_line=True) if when else ""
    lines = [f"{severity} {bold}{title}{plain}", f"{first}{since}"]
    lines += [
        shorten(f"{label}: {printable(value, one_line=True)}", _MAX_LINE)
        for label, value in (("runbook", alert.runbook), ("reference", alert.reference))
        if value
    ]
    if context:
        shown = pretty_context(alert, 20 * _MAX_LINE).splitlines()
        lines += [shorten(line, _MAX_LINE) for line in shown[:_MAX_CONTEXT_LINES]]
        if len(shown) > _MAX_CONTEXT_LINES:
            lines.append(f"… {len(shown) - _MAX_CONTEXT_LINES} more lines")
    lines.append(f"{dim}alert {alert.alert_id}{plain}")
    indent = "\n" + " " * (_SEVERITY_WIDTH + 1)
    return indent.join(lines) + "\n"


def build(name: str, config: Config) -> ConsoleDestination:
    """See `base`."""
    return ConsoleDestination(name, config)
