"""strftime patterns compiled to one regular expression each, with nanoseconds and both spellings of zones.

The stdlib's strptime is seven times slower, stops at microseconds and takes the names of months from the
locale. A pattern's expression has no nested repetition, so matching is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

Parsed = tuple[datetime, int]
"""A moment (aware, or naive for UTC) and its nanoseconds."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tue|wed|thu|fri|sat|sun"
_MONTH = "|".join(sorted({*_FULL, *_MONTHS}, key=len, reverse=True))

_ZONES = {"utc": 0, "gmt": 0, "z": 0, "ut": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
          "pst": -8, "pdt": -7, "cet": 1, "cest": 2, "bst": 1, "jst": 9}  # fmt: skip
"""The abbreviations of RFC 822 and a few without a second meaning in logs, in hours."""

_PIECES: dict[str, str] = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<year2>\d\d)",
    "m": r"(?P<month>\d\d?)",
    "d": r"(?P<day>\d\d?)",
    "e": r"\s?(?P<day>\d\d?)",
    "j": r"(?P<yearday>\d{1,3})",
    "b": rf"(?P<monthname>{_MONTH})",
    "a": rf"(?:{_DAYS})",
    "H": r"(?P<hour>\d\d?)",
    "k": r"\s?(?P<hour>\d\d?)",
    "I": r"(?P<hour12>\d\d?)",
    "l": r"\s?(?P<hour12>\d\d?)",
    "M": r"(?P<minute>\d\d?)",
    "S": r"(?P<second>\d\d?)",
    "f": r"(?P<fraction>\d{1,9})",
    "N": r"(?P<fraction>\d{1,9})",
    "L": r"(?P<fraction>\d{1,9})",
    "p": r"(?P<half>am|pm)",
    "z": r"(?P<offset>z|[+-]\d\d:?\d\d)",
    "Z": r"(?P<zone>[a-z]{1,5})",
    "s": r"(?P<epoch>-?\d{1,11})",
    "%": "%",
    "n": r"\n",
    "t": r"\t",
}
_SAME = {"B": "b", "h": "b", "A": "a", "P": "p"}
_LONG = {"T": "%H:%M:%S", "D": "%m/%d/%y", "x": "%m/%d/%y", "F": "%Y-%m-%d", "R": "%H:%M", "r": "%I:%M:%S %p",
         "X": "%H:%M:%S", "c": "%a %b %e %H:%M:%S %Y", "v": "%e-%b-%Y"}  # fmt: skip

_GO = (("2006", "%Y"), ("January", "%B"), ("Monday", "%A"), ("Jan", "%b"), ("Mon", "%a"), ("MST", "%Z"),
       ("Z07:00", "%z"), ("-07:00", "%z"), ("Z0700", "%z"), ("-0700", "%z"), ("15", "%H"), ("01", "%m"),
       ("02", "%d"), ("_2", "%e"), ("03", "%I"), ("04", "%M"), ("05", "%S"), ("06", "%y"), ("PM", "%p"),
       ("1", "%m"), ("2", "%d"), ("3", "%I"), ("4", "%M"), ("5", "%S"))  # fmt: skip
_GO_FRACTION = re.compile(r"[.,](?:0{1,9}|9{1,9})(?!\d)")


def from_go_layout(layout: str) -> str:
    """The strftime pattern of a Go reference layout such as `2006-01-02T15:04:05Z07:00`."""
    out, at = [], 0
    while at < len(layout):
        fraction = _GO_FRACTION.match(layout, at)
        if fraction:
            out.append(f"{layout[at]}%f")
            at = fraction.end()
            continue
        for go, directive in _GO:
            if layout.startswith(go, at):
                out.append(directive)
                at += len(go)
                break
        else:
            out.append(layout[at].replace("%", "%%"))
            at += 1
    return "".join(out)


def _expression(pattern: str) -> str:
    """Raises ValueError for a directive that is unknown or stands twice."""
    out, seen, at = [], set(), 0
    while at < len(pattern):
        char = pattern[at]
        if char != "%":
            out.append(r"\s+" if char == " " else re.escape(char))
            at += 1
            continue
        at += 1
        if pattern[at : at + 1] in {"-", ":", "_", "0", "3", "6", "9"}:  # padding and width change nothing here
            at += 1
        letter = pattern[at : at + 1]
        at += 1
        if letter in _LONG:
            pattern = pattern[:at] + _LONG[letter] + pattern[at:]
            continue
        letter = _SAME.get(letter, letter)
        if letter not in _PIECES:
            raise ValueError(f"%{letter} in the time format {pattern!r} is not known")
        if letter in seen and letter not in "%nt":
            raise ValueError(f"%{letter} stands twice in the time format {pattern!r}")
        seen.add(letter)
        out.append(_PIECES[letter])
    return "".join(out)


def _zone(parts: dict[str, str]) -> timezone | None:
    offset, name = parts.get("offset"), parts.get("zone")
    if offset and offset not in {"z", "Z"}:
        digits = offset[1:].replace(":", "")
        delta = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-delta if offset[0] == "-" else delta)
    if name:
        return timezone(timedelta(hours=_ZONES[name.lower()]))
    return UTC


def _likely_year(parts: dict[str, str]) -> int:
    """The year for a text without one: the last in which the day is not after tomorrow."""
    if not {"month", "monthname"} & parts.keys():
        return 1970
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    ahead = (_month(parts), int(parts.get("day", 1))) > (tomorrow.month, tomorrow.day)
    return tomorrow.year - ahead


def _month(parts: dict[str, str]) -> int:
    return _MONTHS.index(parts["monthname"][:3].lower()) + 1 if "monthname" in parts else int(parts.get("month", 1))


def _build(parts: dict[str, str]) -> Parsed:
    nanos = int((parts.get("fraction", "") + "000000000")[:9])
    if "epoch" in parts:
        return datetime.fromtimestamp(int(parts["epoch"]), UTC), nanos
    if "year2" in parts:
        short = int(parts["year2"])
        year = short + (1900 if short >= 69 else 2000)
    elif "year" in parts:
        year = int(parts["year"])
    else:
        year = _likely_year(parts)
    month = _month(parts)
    hour = int(parts.get("hour", 0))
    if "hour12" in parts:
        hour = int(parts["hour12"]) % 12 + (12 if parts.get("half", "am").lower() == "pm" else 0)
    second = int(parts.get("second", 0))
    moment = datetime(year, month, int(parts.get("day", 1)), hour, int(parts.get("minute", 0)), min(second, 59))
    moment += timedelta(seconds=second - min(second, 59))  # a leap second is the first of the next minute
    if "yearday" in parts:
        moment = moment.replace(month=1, day=1) + timedelta(days=int(parts["yearday"]) - 1)
    return moment.replace(tzinfo=_zone(parts)), nanos


def compile_pattern(pattern: str) -> Callable[[str], Parsed | None]:
    """A function from text to moment, None when the text is not of the pattern. Raises ValueError."""
    try:
        expression = re.compile(_expression(pattern), re.IGNORECASE | re.ASCII)
    except re.error as error:
        raise ValueError(f"the time format {pattern!r} names one part of the time twice ({error})") from error

    def parse(text: str) -> Parsed | None:
        match = expression.fullmatch(text.strip())
        if match is None:
            return None
        try:
            return _build({name: part for name, part in match.groupdict().items() if part is not None})
        except (ValueError, KeyError, OverflowError):
            return None

    return parse
