"""Records of one object → normalised events. `Session.read` is the hot path, and never raises."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from ingestd import model
from ingestd.schemas import coerce, jsontext, lenient, transforms
from ingestd.schemas.classify import Ranked
from ingestd.schemas.coerce import Misfit
from ingestd.schemas.jsontext import NeedLiterals
from ingestd.schemas.logtype import LogType

if TYPE_CHECKING:
    from ingestd.schemas.classifier import Classifier

Event = dict[str, Any]

_MOST_ELEMENTS = 0xFFFF  # sub-ordinals have four hex digits
_MOST_DETAIL = 2000
_CLOCK_SECS = 0.05  # how old p_parse_time may be


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for all records of one object."""

    identity: str
    source_id: str = ""
    source_label: str = ""
    origin: dict[str, str] = {}
    """`p_source_file`."""
    keep_unknown: bool | None = None
    """Whether unknown fields stay; None asks the schema."""


class Rejected(msgspec.Struct, frozen=True):
    """The record is no event. `reason` is a snake_case word: `not_utf8`, `invalid_json`, `not_an_object`,
    `invalid` (of the one log type that it could be), `unclassified` (of none of several), `internal_error`."""

    reason: str
    detail: str
    """For a person; with several candidates why it is none of them."""
    log_type: str = ""
    """Set when there was one candidate."""


Result = Event | list["Event | Rejected"] | Rejected | None


class Session:
    """Reads the records of one object, in the order of their ordinals."""

    def __init__(self, classifier: Classifier, info: SessionInfo, clock: Callable[[], float]) -> None:
        self._candidates = classifier
        self._clock = clock
        self._stale = float("-inf")
        self._parse_time = ""
        self._prefix = model.row_id_prefix(info.identity)
        self._info = info
        self._constants: dict[str, Event] = {}
        several = len(classifier.names) > 1
        self._readers = [(kind, kind.text.reader(exact=several)) for kind in classifier.texts]
        only = classifier.jsons[0] if classifier.jsons and not several else None
        self._only = only
        # what the inner loop needs, at hand: a route with one JSON log type is nearly every route
        self._straight = only.normalise if only is not None and only.is_straight else None
        self._straight_fields = self._constant_fields(only.name) if only is not None else {}
        self._straight_keep = only is not None and self._keeps(only)

    def _constant_fields(self, log_type: str) -> Event:
        """Made when they are first needed: an object has records of few of all the log types."""
        fields = self._constants.get(log_type)
        if fields is None:
            info = self._info
            fields = self._constants[log_type] = {
                "p_log_type": log_type,
                "p_schema_version": 0,
                "p_source_id": info.source_id,
                "p_source_label": info.source_label,
                "p_source_file": info.origin,
                "p_parse_time": self._parse_time,
            }
        return fields

    def _keeps(self, kind: LogType) -> bool:
        """Whether unknown fields stay in its events."""
        return kind.schema.keep_unknown if self._info.keep_unknown is None else self._info.keep_unknown

    # --- one record -----------------------------------------------------------------------------------

    def read(self, data: Any, ordinal: int, header: Event | None = None) -> Result:
        """The event in `data` (bytes-like); a list when the record was an array of events; None for a line
        that is no row (blank, a header line, a comment). `header` becomes `p_header`. Raises nothing but MemoryError.

        A record of one JSON log type comes through here in one go; all else goes the long way below.
        """
        if data.__class__ is not bytes:
            data = bytes(data)
        normalise = self._straight
        try:
            if normalise is None or len(data) > jsontext.LARGE:
                return self._read_any(data, ordinal, header)
            event = orjson.loads(data)
            if event.__class__ is dict:
                event_time = normalise(event, self._straight_keep)
                if self._clock() >= self._stale:
                    self._tick()
                event.update(self._straight_fields)
                event["p_row_id"] = f"{self._prefix}{ordinal:08x}0000"
                event["p_event_time"] = event_time or self._parse_time
                if header is not None:
                    event["p_header"] = header
                return event
        except Misfit as misfit:
            return Rejected("invalid", str(misfit), self._candidates.name)
        except (NeedLiterals, orjson.JSONDecodeError):
            pass
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - one record must not stop its neighbours
            return self._broken(error)
        try:
            return self._read_any(data, ordinal, header)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the same
            return self._broken(error)

    def prime(self, data: Any) -> None:
        """Look at the object's first record when it is not read again, for the sake of a header line."""
        if self._readers:
            self.read(data, 0)

    def _finish(
        self, kind: LogType, event: Event, event_time: str, ordinal: int, sub: int, header: Event | None
    ) -> Event:
        if not kind.is_straight:
            kind.flag(event)
        if self._clock() >= self._stale:
            self._tick()
        event.update(self._constant_fields(kind.name))
        event["p_row_id"] = f"{self._prefix}{ordinal:08x}{sub:04x}"
        event["p_event_time"] = event_time or self._parse_time
        if header is not None:
            event["p_header"] = header
        return event

    def _tick(self) -> None:
        """Renew `p_parse_time`: for each record it would cost as much as decoding it."""
        now = self._clock()
        self._stale = now + _CLOCK_SECS
        self._parse_time = text_of(now)
        for fields in self._constants.values():
            fields["p_parse_time"] = self._parse_time

    def _broken(self, error: Exception) -> Rejected:
        """A record that an oversight of ours could not handle."""
        return Rejected("internal_error", f"{type(error).__name__}: {error}"[:_MOST_DETAIL], self._candidates.name)

    # --- any record -----------------------------------------------------------------------------------

    def _read_any(self, data: bytes, ordinal: int, header: Event | None) -> Result:
        if not self._candidates.jsons:
            return self._read_text(data, ordinal, header, [])
        start = data.lstrip()[:1]
        if not start:
            return None
        refused: list[str] = []
        if start in {b"{", b"["}:
            found = self._read_json(data, ordinal, header)
            if not isinstance(found, Rejected) or not self._readers:
                return found
            refused.append(found.detail)
        elif not self._readers:
            return self._no_object(data)
        return self._read_text(data, ordinal, header, refused)

    def _no_object(self, data: bytes) -> Rejected:
        try:
            value = jsontext.loads(data)
        except ValueError as error:
            return self._undecodable(data, error)
        return Rejected(
            "not_an_object", f"expected a JSON object, found {coerce.kind_of(value)}", self._candidates.name
        )

    def _undecodable(self, data: bytes, error: ValueError) -> Rejected:
        try:
            data.decode()
        except UnicodeDecodeError as bad:
            detail = f"byte {bad.start} is not UTF-8: 0x{data[bad.start]:02x}"
            return Rejected("not_utf8", detail, self._candidates.name)
        return Rejected("invalid_json", str(error)[:_MOST_DETAIL], self._candidates.name)

    def _read_json(self, data: bytes, ordinal: int, header: Event | None) -> Result:
        try:
            record = jsontext.loads(data)
        except ValueError as error:
            return self._undecodable(data, error)
        if record.__class__ is dict:
            found = self._classify(record, _Again(data), ordinal, 0, header)
            return found[0] if len(found) == 1 else found
        if len(record) > _MOST_ELEMENTS:
            return Rejected("invalid_json", f"{len(record)} events in one record; at most {_MOST_ELEMENTS}",
                            self._candidates.name)  # fmt: skip
        results: list[Event | Rejected] = []
        for sub, element in enumerate(record):
            if element.__class__ is dict:
                results.extend(self._classify(element, _Again(data, sub), ordinal, len(results), header))
            else:
                wrong = f"element {sub} of the array is no object but {coerce.kind_of(element)}"
                results.append(Rejected("not_an_object", wrong, self._candidates.name))
        return results

    def _classify(
        self, record: Event, again: _Again, ordinal: int, sub: int, header: Event | None
    ) -> list[Event | Rejected]:
        """The best candidate that fits. A try may leave the record half changed: the next gets a fresh one."""
        only = self._only
        order = self._candidates.shapes.order(record) if only is None else (Ranked(0.0, only),)
        shape = dict.fromkeys(record)
        best: _Fit | None = None
        refused: list[str] = []
        for tries, ranked in enumerate(order):
            if best is not None and not best.paths:
                break
            if best is not None and not ranked.rivals(best.ranked):
                continue
            try:
                fit = self._try(ranked, again.record() if tries else record, again)
            except Misfit as misfit:
                refused.append(f"{ranked.kind.name}: {misfit}")
                continue
            if best is None or len(fit.paths) < len(best.paths):
                best = fit
        if best is not None:
            kind = best.ranked.kind
            kind.strays.count(best.paths)
            return [
                self._finish(kind, event, event_time, ordinal, sub + at, header)
                for at, (event, event_time) in enumerate(best.events)
            ]
        if only is not None:
            return [Rejected("invalid", refused[0].removeprefix(f"{only.name}: "), only.name)]
        refused.extend(self._candidates.shapes.refusals(shape))
        return [Rejected("unclassified", _reasons(refused))]

    def _try(self, ranked: Ranked, record: Event, again: _Again) -> _Fit:
        """The record as of one candidate; its unknown fields are not yet counted. Raises Misfit."""
        strays = ranked.kind.strays
        paths: list[str] = []
        strays.met = paths
        try:
            events = self._fit(ranked.kind, record, again)
        finally:
            strays.met = None
        return _Fit(ranked, events, paths)

    def _fit(self, kind: LogType, record: Event, again: _Again) -> list[tuple[Event, str]]:
        """The record as events of the log type, more than one when its schema unrolls. Raises Misfit."""
        if kind.schema.lenient:
            return lenient.fit(
                kind, lambda: again.record(literal=True), lambda record: self._normalised(kind, record)
            )
        try:
            return self._normalised(kind, record)
        except NeedLiterals:
            with jsontext.keeping_literals():
                fits = self._normalised(kind, again.record(literal=True))
            return [(jsontext.drop_literals(event), event_time) for event, event_time in fits]

    def _normalised(self, kind: LogType, record: Event) -> list[tuple[Event, str]]:
        keep, unroll = self._keeps(kind), kind.schema.unroll
        pieces = transforms.unrolled(record, unroll) if unroll else [record]
        if len(pieces) > _MOST_ELEMENTS:
            raise Misfit(unroll, f"{len(pieces)} events in one record; at most {_MOST_ELEMENTS}")
        return [(piece, kind.apply(piece, keep)) for piece in pieces]

    def _read_text(self, data: bytes, ordinal: int, header: Event | None, refused: list[str]) -> Result:
        try:
            line = data.decode()
        except UnicodeDecodeError as error:
            return self._undecodable(data, error)
        line = line.rstrip("\r\n")
        if not line or line.isspace():
            return None
        no_row = False
        for kind, reader in self._readers:
            try:
                found = reader.read(line, ordinal, self._keeps(kind))
            except Misfit as misfit:
                refused.append(f"{kind.name}: {misfit}")
                continue
            if found is not None:
                return self._finish(kind, found[0], found[1], ordinal, 0, header)
            no_row = True  # a header or comment for this log type; another may see an event in it
        if no_row:
            return None
        name = self._candidates.name
        if name:
            return Rejected("invalid", refused[-1].removeprefix(f"{name}: "), name)
        return Rejected("unclassified", _reasons(refused))


class _Fit(NamedTuple):
    """A record as one candidate reads it."""

    ranked: Ranked
    events: list[tuple[Event, str]]
    paths: list[str]
    """Unknown fields."""


class _Again:
    """Decodes a record anew, or one element of it."""

    __slots__ = ("_data", "_element")

    def __init__(self, data: bytes, element: int | None = None) -> None:
        self._data = data
        self._element = element

    def record(self, *, literal: bool = False) -> Event:
        """A fresh copy; with `literal`, numbers keep their spelling."""
        value = jsontext.loads_literal(self._data) if literal else jsontext.loads(self._data)
        found: Event = value if self._element is None else value[self._element]
        return found


def _reasons(refused: list[str]) -> str:
    text = "; ".join(refused) if refused else "no log type is possible here"
    return text if len(text) <= _MOST_DETAIL else f"{text[:_MOST_DETAIL]}… ({len(refused)} log types)"


def text_of(now: float) -> str:
    """`p_parse_time`: seconds since the epoch as text, in UTC."""
    second = math.floor(now)
    micros = round((now - second) * 1_000_000)
    if micros == 1_000_000:
        second, micros = second + 1, 0
    return f"{_text_of_second(second)}.{micros:06d}000"


@lru_cache(maxsize=16)
def _text_of_second(second: int) -> str:
    """Remembered: thousands of objects begin in the same second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
