"""Append blobs that are still written to: when they are closed, and up to where they may be read before.

Diagnostic settings write `…/y=2024/m=05/d=01/h=10/m=00/PT1H.json`: JSON lines, appended to for an hour and a little
longer. Until a blob is closed only whole lines of it are read, so that no record is ever read half; one
that is not made of lines is read when it is closed.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import msgspec

HOUR_SECS = 3_600.0
_HOUR = re.compile(r"/y=(\d{4})/m=(\d{2})/d=(\d{2})/h=(\d{2})/m=\d{2}/")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"PK\x03\x04")
_BOM = b"\xef\xbb\xbf"


class Following(msgspec.Struct, frozen=True, kw_only=True):
    """How long append blobs are followed."""

    poll_secs: float = 60.0
    """Time between two looks at one blob."""
    grace_secs: float = 900.0
    """After the hour in its name and after its last append."""
    quiet_secs: float = HOUR_SECS
    """After its last append, for a blob with no hour in its name; `grace_secs` come on top."""


def closes_at(path: str, last_modified: float, following: Following) -> float:
    """When a blob counts as closed: nothing more is appended as far as one can know. Seconds since the epoch."""
    hour = _hour_of(path)
    quiet_since = last_modified + following.quiet_secs if hour is None else max(hour + HOUR_SECS, last_modified)
    return quiet_since + following.grace_secs


def _hour_of(path: str) -> float | None:
    found = _HOUR.search(path)
    if found is None:
        return None
    try:
        return datetime(*(int(part) for part in found.groups()), tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def is_made_of_lines(head: bytes) -> bool:
    """Whether each line is a record by itself, as far as the first one tells. False while it is not whole."""
    line, ended, _ = head.partition(b"\n")
    if not ended or line.startswith(_PACKED) or b"\0" in line:
        return False
    line = line.removeprefix(_BOM).strip()
    if not line.startswith((b"{", b"[")):
        return True
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def goes_on_with_a_record(data: bytes) -> bool:
    """Whether what was appended can be read without what stands before it: JSON can, rows below a header cannot."""
    return data.lstrip().startswith((b"{", b"["))
