"""Folding log lines that repeat: the first one is written, the others of the window are counted and told in one line.

A repeat is the same message at the same level from the same place: for our lines their text and the component they
name, for those of libraries the line of code.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Any

from ingestd.telemetry import catalogue

MAX_KEYS = 1_000
"""Different lines watched at once; past it the oldest window ends early."""

_COMPONENT = ("source", "destination", "rule", "detection", "kind", "name", "stage", "error_type")
"""Fields that tell one component's line from another's. Ids of messages, objects and alerts are not among them."""


class _Window:
    __slots__ = ("count", "ends", "event", "last")

    def __init__(self, ends: float, first: logging.LogRecord) -> None:
        self.ends = ends
        self.count = 0
        self.last = first
        self.event: Mapping[str, Any] | None = None
        """Of a line after `last` that was never made."""


class Folder(logging.Filter):
    """A filter of a handler; `emit` writes a record past the filter. Not debug lines: who asks for them wants all."""

    def __init__(
        self,
        window_secs: float,
        emit: Callable[[logging.LogRecord], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._window_secs = window_secs
        self._emit = emit
        self._clock = clock
        self._windows: dict[Hashable, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record; a window that is over is summed up first. Called under the handler's lock."""
        if record.levelno <= logging.DEBUG:
            return True
        now = self._clock()
        key = _key(record)
        window = self._windows.get(key)
        if window is not None and now < window.ends:
            window.count += 1
            window.last, window.event = record, None
            catalogue.LOG_LINES_FOLDED.inc()
            return False
        if window is not None:
            self._sum_up(self._windows.pop(key))
        while len(self._windows) >= MAX_KEYS:
            self._sum_up(self._windows.pop(next(iter(self._windows))))
        self._windows[key] = _Window(now + self._window_secs, record)
        return True

    def counted(self, level: int, event: Mapping[str, Any]) -> bool:
        """Whether a line of ours, its text in `event` as `event` among its fields, is a repeat. It is counted then,
        and need not be made: a line that is folded costs ten times as much by `filter`."""
        window = self._windows.get(_key_of(level, event))
        if window is None or self._clock() >= window.ends:
            return False
        window.count += 1
        window.event = event
        catalogue.LOG_LINES_FOLDED.inc()
        return True

    def flush(self, *, everything: bool = False) -> None:
        """Sum up the windows that are over, or all of them."""
        now = self._clock()
        for key in [key for key, window in self._windows.items() if everything or now >= window.ends]:
            window = self._windows.pop(key, None)
            if window is not None:
                self._sum_up(window)

    def _sum_up(self, window: _Window) -> None:
        if window.count == 0:
            return
        record = copy.copy(window.last)
        if window.event is not None:
            now = datetime.now(UTC)
            record.created, record.msecs = now.timestamp(), now.microsecond / 1000
            stamp = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
            record.msg = {**_fields(record), **window.event, "timestamp": stamp}
        more = f" ({window.count} more in {self._window_secs:g} s)"
        if isinstance(record.msg, dict):
            record.msg = {**record.msg, "event": f"{record.msg.get('event')}{more}", "repeated": window.count}
            record.msg.pop("exc_info", None)
        else:
            record.msg, record.args = record.getMessage() + more, ()
        record.exc_info = None
        self._emit(record)


def _key(record: logging.LogRecord) -> Hashable:
    if isinstance(record.msg, dict):
        return _key_of(record.levelno, record.msg)
    return record.levelno, record.pathname, record.lineno


def _key_of(level: int, event: Mapping[str, Any]) -> Hashable:
    return level, event.get("event"), *(str(event.get(field)) for field in _COMPONENT)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return record.msg if isinstance(record.msg, dict) else {}
