"""The event as rules see it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from ingestd.detections import lookups
from ingestd.detections.immutable import Absent, ImmutableCaseInsensitiveDict, wrap
from ingestd.detections.walk import deep_walk


class PantherError(Exception):
    """Base of the errors that the event and the engine raise inside rules."""


class StandardFields(Protocol):
    """Names of one log type's fields in the unified data model: what `PantherEvent` needs of a data model."""

    def value(self, event: ImmutableCaseInsensitiveDict, name: str) -> Any:
        """The plain or viewed value, `Unanswered` if the name is mapped but has none, `Absent` if not mapped."""

    def path(self, event: ImmutableCaseInsensitiveDict, name: str) -> str | None:
        """Where `name` comes from: a dotted path or the name of a method; None if it comes from nowhere."""


class Unanswered:
    """Stands for "this name is mapped, but this event has no value for it"."""


_CANONICAL_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?", re.ASCII)
_ZONED_TIME = re.compile(r"(?:Z|[+-]\d\d:?\d\d)\s*$", re.IGNORECASE)


class _StandardFields(dict[str, Any]):
    """Answers of `udm` given so far, by name: a value, or `Unanswered` where the caller's default holds. Many
    rules ask for the same few names, and a method of a data model may be slow."""

    __slots__ = ("event", "view")

    def __init__(self, event: PantherEvent) -> None:
        self.event = event
        # Methods of a data model get the event without the methods of PantherEvent. What is known stays known.
        self.view = event.plain_view()

    def __missing__(self, name: str) -> Any:
        event = self.event
        found = Absent if event.data_model is None else event.data_model.value(self.view, name)
        if found is Absent:
            found = event.deep_get("p_udm", name) or event.deep_get(name) or Unanswered
        found = self[name] = wrap(found)
        return found


class PantherEvent(ImmutableCaseInsensitiveDict):
    """One normalised event. Shared by all rules that look at it: it cannot be changed through them, though
    they may set attributes on it."""

    __slots__ = ("__dict__", "_standard", "data_model")

    def __init__(self, event: Mapping[str, Any] | None = None, data_model: StandardFields | None = None) -> None:
        super().__init__(event)
        self.data_model = data_model
        self._standard: _StandardFields | None = None

    def plain_view(self) -> ImmutableCaseInsensitiveDict:
        """The same event without the methods that only events have."""
        view = ImmutableCaseInsensitiveDict.__new__(ImmutableCaseInsensitiveDict)
        view._container, view._seen = self._container, self._seen
        return view

    def deep_get(self, *keys: str, default: Any = None) -> Any:
        """The value at the end of `keys`; `default` if that is null or missing. A list on the way is missing."""
        found: Any = self
        for key in keys:
            kind = type(found)
            if kind is ImmutableCaseInsensitiveDict or kind is PantherEvent:
                found = found._seen[key]
                if found is Absent:
                    found = default
            elif kind is str or found is None:  # asking whether these are mappings takes longer than all the rest
                found = default
            elif isinstance(found, Mapping):
                found = found.get(key, default)
            else:
                found = default
        return default if found is None else found

    def deep_walk(self, *keys: str, default: Any = None, return_val: str = "all") -> Any:
        """All values at the end of `keys`, through lists; see `walk.deep_walk`."""
        return deep_walk(self._container, keys, default, return_val)

    def udm(self, *keys: str, default: Any = None) -> Any:
        """A field of the unified data model, by the log type's data model, else from `p_udm`, else from the
        event itself."""
        if len(keys) != 1:
            return self.deep_get("p_udm", *keys) or self.deep_get(*keys) or default
        known = self._standard
        if known is None:
            known = self._standard = _StandardFields(self)
        found = known[keys[0]]
        return default if found is Unanswered else found

    def udm_path(self, key: str) -> str | None:
        """Where `udm(key)` takes its value from: `a.b`, `a.[0].b`, or the name of a method."""
        if self.data_model is None:
            raise PantherError("no data model found for this event's log type")
        return self.data_model.path(ImmutableCaseInsensitiveDict(self._container), key)

    def event_time_epoch(self) -> int:
        """`p_event_time` in seconds since the epoch; 0 if it is missing or carries a zone of its own."""
        text = self.get("p_event_time")
        if not isinstance(text, str):
            return 0
        try:
            canonical = _CANONICAL_TIME.fullmatch(text)
            if canonical:
                return int(datetime.fromisoformat(canonical[1]).replace(tzinfo=UTC).timestamp())
            if _ZONED_TIME.search(text):
                return 0
            from dateutil import parser

            return int(parser.parse(f"{text} UTC").timestamp())
        except (ValueError, OverflowError):
            return 0

    def lookup(self, table: str, key: str) -> Any:
        """A row of a lookup table, in tests from the sample's `_mocked_lookup_data_`; KeyError if there is none."""
        if lookups.tables is None:
            return self["_mocked_lookup_data_"][table][key]
        row = lookups.tables(table, key)
        if row is None:
            raise KeyError(key)
        return wrap(row)
