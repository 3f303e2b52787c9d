"""Ingestion filters: records and events that a route does not want, left out on purpose and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import re2

from ingestd.detections.immutable import ImmutableCaseInsensitiveDict
from ingestd.detections.simple import compile_filters
from ingestd.model import EventFilter, Filters, RawFilter
from ingestd.workers.contracts import Event, Filtered, Read, Refusal, Session

_MOST_COMPILED: Final = 64

Test = Callable[[Any], bool]


class Compiled:
    """The filters of a route, ready. Raises ValueError for one that is malformed."""

    def __init__(self, filters: Filters) -> None:
        self.raw = tuple(_raw(one) for one in filters.raw)
        self._by_log_type: dict[str, tuple[Test, ...]] = {}
        self._events = tuple((frozenset(one.log_types), _event(one)) for one in filters.events)

    def for_log_type(self, log_type: str) -> tuple[Test, ...]:
        """What an event of the log type must pass."""
        found = self._by_log_type.get(log_type)
        if found is None:
            found = tuple(test for names, test in self._events if not names or log_type in names)
            self._by_log_type[log_type] = found
        return found


def _raw(given: RawFilter) -> Test:
    """True for the bytes of a record that stays."""
    texts = tuple(text.encode() for text in given.contains)
    patterns = tuple(map(_pattern, given.matches))

    def meets(record: bytes) -> bool:
        return any(text in record for text in texts) or any(pattern.search(record) for pattern in patterns)

    return meets if given.keeps else lambda record: not meets(record)


def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text.encode(), options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"not a regular expression (RE2): {why}") from error


def _event(given: EventFilter) -> Test:
    """True for an event that stays."""
    meets = compile_filters(given.conditions)
    if meets is None:
        raise ValueError("a filter needs at least one condition")
    if given.keeps:
        return meets
    return lambda event: not meets(event)


_compiled: dict[bytes, Compiled] = {}


def compiled(filters: Filters) -> Compiled:
    """The same, remembered: every object of a route brings its filters."""
    key = msgspec.msgpack.encode(filters)
    found = _compiled.get(key)
    if found is None:
        if len(_compiled) >= _MOST_COMPILED:
            _compiled.clear()
        found = _compiled[key] = Compiled(filters)
    return found


class FilteredSession:
    """A session that answers `Filtered` in the place of what its route does not want."""

    def __init__(self, session: Session, filters: Compiled) -> None:
        self._session = session
        self._filters = filters

    def prime(self, data: Any) -> None:
        """See `Session`."""
        self._session.prime(data)

    def read(self, data: bytes, ordinal: int, header: Event | None = None) -> Read:
        """See `Session`. A first record that is left out is looked at all the same: it may name the columns."""
        if not all(stays(data) for stays in self._filters.raw):
            if ordinal == 0:
                self._session.prime(data)
            return Filtered()
        read = self._session.read(data, ordinal, header)
        if isinstance(read, dict):
            return self._event(read)
        if isinstance(read, Sequence):
            return [self._event(one) if isinstance(one, dict) else one for one in read]
        return read

    def _event(self, event: Event) -> Event | Refusal | Filtered:
        tests = self._filters.for_log_type(event["p_log_type"])
        if tests:
            view = ImmutableCaseInsensitiveDict(event)
            if not all(stays(view) for stays in tests):
                return Filtered(event["p_log_type"])
        return event
