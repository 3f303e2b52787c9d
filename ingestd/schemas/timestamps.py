"""Timestamps in, one form out: `YYYY-MM-DD HH:MM:SS.fffffffff`, UTC.

A *reader* turns one value into that text, into `""` when the value stands for "no time" (empty, or the zero
time 0001-01-01), or into None when it is not of its format. `reader_of(formats)` tries several in order.
Every timestamp field also takes the form that goes out, so that normalised events can be read again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone

from ingestd.schemas import strptime
from ingestd.schemas.memo import Memo

Reader = Callable[[object], "str | None"]

NAMED = ("rfc3339", "unix", "unix_ms", "unix_us", "unix_ns", "unix_auto", "cloudflare")
"""Formats with a name; others contain `%` (strftime) or begin with `layout=` (Go)."""

_EPOCH = datetime(1970, 1, 1)
_FIRST_SECOND = int((datetime.min - _EPOCH).total_seconds())
_LAST_SECOND = int((datetime.max - _EPOCH).total_seconds())
_NANOS = 1_000_000_000

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,18}))?(?:([Zz])|([+-])(\d\d):?(\d\d))?\Z", re.ASCII
)
_DIGITS = re.compile(r"\s*(-?\d{1,20})(?:\.(\d{0,30}))?\s*\Z", re.ASCII)


def from_seconds(seconds: int, nanos: int) -> str | None:
    """Text of a moment given in whole seconds since 1970 and nanoseconds (0 to 999,999,999)."""
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        return None
    moment = _EPOCH + timedelta(seconds=seconds)
    if moment.year == 1 and moment.timetuple().tm_yday == 1:
        return ""
    return f"{moment.isoformat(' ')}.{nanos:09d}"


def from_datetime(moment: datetime, nanos: int) -> str | None:
    """Text of `moment` (without a zone: UTC), its fraction replaced by `nanos`."""
    offset = moment.utcoffset()
    plain = moment.replace(microsecond=0, tzinfo=None)
    if offset:
        try:
            plain -= offset
        except OverflowError:
            return None
    if plain.year == 1 and plain.month == 1 and plain.day == 1:
        return ""
    return f"{plain.isoformat(' ')}.{nanos:09d}"


def _rfc3339(text: str, *, zone_required: bool) -> str | None:
    match = _RFC3339.match(text)
    if match is None:
        return None
    day, clock, fraction, zulu, sign, hours, minutes = match.groups()
    if zulu is None and sign is None and zone_required:
        return None
    try:
        moment = datetime.fromisoformat(f"{day} {clock}")
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            moment = moment.replace(tzinfo=timezone(offset if sign == "+" else -offset))
    except ValueError:
        return None
    return from_datetime(moment, int(((fraction or "") + "000000000")[:9]))


def _read_rfc3339(value: object) -> str | None:
    return _rfc3339(value, zone_required=True) if isinstance(value, str) else None


def _normal_form(value: object) -> str | None:
    """The form that goes out, with any number of digits in the fraction, or none."""
    return _rfc3339(value, zone_required=False) if isinstance(value, str) and value[10:11] == " " else None


def _unix(scale: int, *, fractions: bool) -> Reader:
    """Reads a count of units since 1970, of which `scale` make a second."""
    nanos_per_unit = _NANOS // scale

    def read(value: object) -> str | None:
        if value.__class__ is int:
            seconds, rest = divmod(value, scale)
            return from_seconds(seconds, rest * nanos_per_unit)
        if isinstance(value, bool):
            return None
        if isinstance(value, float):
            if not fractions or not math.isfinite(value):
                return None
            micros = round(value * scale * 1_000_000) if scale == 1 else round(value * (1_000_000 // scale))
            return from_seconds(micros // 1_000_000, micros % 1_000_000 * 1000)
        match = _DIGITS.match(value) if isinstance(value, str) else None
        if match is None or (match[2] is not None and not fractions):
            return None
        total = int(match[1]) * nanos_per_unit
        if match[2]:
            part = int((match[2] + "000000000")[:9]) // scale
            total += -part if match[1].startswith("-") else part
        return from_seconds(total // _NANOS, total % _NANOS)

    return read


_SECONDS, _MILLIS, _MICROS, _NANOSECONDS = (
    _unix(1, fractions=True),
    _unix(1_000, fractions=False),
    _unix(1_000_000, fractions=False),
    _unix(_NANOS, fractions=False),
)


def _unix_auto(value: object) -> str | None:
    """Seconds below 1e11 (the year 5138), else milliseconds below 1e14, microseconds below 1e17, nanoseconds."""
    if isinstance(value, str):
        match = _DIGITS.match(value)
        if match is None:
            return None
        size = abs(int(match[1]))
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        size = abs(int(value))
    else:
        return None
    if size < 10**11:
        return _SECONDS(value)
    if isinstance(value, float):
        value = int(value)
    elif isinstance(value, str):
        value = value.partition(".")[0]
    return (_MILLIS if size < 10**14 else _MICROS if size < 10**17 else _NANOSECONDS)(value)


def _cloudflare(value: object) -> str | None:
    """What Logpush writes, whichever of its three settings is on: RFC 3339, Unix seconds or nanoseconds."""
    return _read_rfc3339(value) or _unix_auto(value)


_READERS: dict[str, Reader] = {
    "rfc3339": _read_rfc3339,
    "unix": _SECONDS,
    "unix_ms": _MILLIS,
    "unix_us": _MICROS,
    "unix_ns": _NANOSECONDS,
    "unix_auto": _unix_auto,
    "cloudflare": _cloudflare,
}


def _strftime_reader(pattern: str) -> Reader:
    parse = strptime.compile_pattern(pattern)

    def read(value: object) -> str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = repr(value)
        parsed = parse(value) if isinstance(value, str) else None
        return None if parsed is None else from_datetime(*parsed)

    return read


def format_reader(name: str) -> Reader:
    """The reader of one format. Raises ValueError, saying what to write, for a name that is no format."""
    if name in _READERS:
        return _READERS[name]
    if name.startswith("layout="):
        return _strftime_reader(strptime.from_go_layout(name.removeprefix("layout=")))
    if "%" in name:
        return _strftime_reader(name)
    raise ValueError(f"unknown time format {name!r}: write one of {', '.join(NAMED)}, or a pattern such as %Y-%m-%d")


class TimeReader:
    """Reads with several formats in order; texts are remembered. One per list of formats and process."""

    __slots__ = ("_readers", "formats", "texts")

    def __init__(self, formats: Sequence[str]) -> None:
        self.formats = tuple(formats)
        self._readers = (*(format_reader(name) for name in formats), _normal_form)
        self.texts: Memo[str | None] = Memo(self._read)

    def _read(self, value: object) -> str | None:
        if value == "" or (isinstance(value, str) and not value.strip()):
            return ""
        for read in self._readers:
            text = read(value)
            if text is not None:
                return text
        return None

    def __call__(self, value: object) -> str | None:
        """Text of the moment, `""` for no time, None when no format fits. Never raises."""
        return self.texts[value] if value.__class__ is str else self._read(value)


_readers_made: dict[tuple[str, ...], TimeReader] = {}


def reader_of(formats: Sequence[str]) -> TimeReader:
    """The shared reader of a list of formats."""
    key = tuple(formats)
    reader = _readers_made.get(key)
    if reader is None:
        reader = _readers_made[key] = TimeReader(key)
    return reader


def to_epoch(text: str) -> float:
    """Seconds since 1970 of a text in normal form."""
    return (datetime.fromisoformat(text[:19]) - _EPOCH).total_seconds() + int(text[20:] or 0) / _NANOS
