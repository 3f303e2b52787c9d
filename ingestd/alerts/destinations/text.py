"""Alerts as text and as plain documents, for all destinations.

What an alert says comes from events, which anybody may have written: nothing of it may move a terminal's cursor,
turn text around, or pass for markup of the place it is shown in.
"""

from __future__ import annotations

import datetime
import json
import unicodedata
from typing import Any

import msgspec

from ingestd.model import Alert

_KEPT_CONTROLS = frozenset("\n\t")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, invisible and direction-changing characters, surrogates, private use, unassigned, line separators."""


def printable(text: str, *, one_line: bool = False) -> str:
    """The text with everything invisible or active written as an escape such as `\\x1b`."""
    if one_line:
        text = " ".join(text.split())
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char in _KEPT_CONTROLS or unicodedata.category(char) not in _HIDDEN_CATEGORIES:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last one `…` when something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def context_of(alert: Alert) -> Any:
    """The alert's context as a value; as text when it is not JSON."""
    try:
        return msgspec.json.decode(alert.context)
    except (msgspec.DecodeError, RecursionError):
        return alert.context


def pretty_context(alert: Alert, limit: int) -> str:
    """The alert's context as indented JSON, shortened; empty when there is none."""
    value = context_of(alert)
    if value in ({}, None, ""):
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        text = alert.context
    return shorten(printable(text), limit)


def facts(alert: Alert) -> list[tuple[str, str]]:
    """What to show of every alert, as (label, value) in one line each, made printable."""
    found = [
        ("Severity", alert.severity),
        ("Detection", alert.detection_id),
        ("Kind", alert.kind),
        ("Matches", str(alert.match_count)),
        ("Log types", ", ".join(alert.log_types)),
        ("First event", alert.first_event_time),
        ("Raised", timestamp(alert.created_at)),
        ("Dedup", alert.dedup),
        ("Tags", ", ".join(alert.tags)),
        ("Alert", alert.alert_id),
    ]
    return [(label, printable(value, one_line=True)) for label, value in found if value]


def document(alert: Alert) -> dict[str, Any]:
    """The alert as machines get it: one JSON object with stable names. Times are RFC 3339 in UTC."""
    return {
        "alert_id": alert.alert_id,
        "kind": alert.kind,
        "detection_id": alert.detection_id,
        "severity": alert.severity,
        "title": alert.title,
        "description": alert.description,
        "reference": alert.reference,
        "runbook": alert.runbook,
        "dedup": alert.dedup,
        "match_count": alert.match_count,
        "log_types": list(alert.log_types),
        "tags": list(alert.tags),
        "reports": alert.reports,
        "version": alert.version,
        "commit": alert.commit,
        "author": alert.author,
        "created_at": timestamp(alert.created_at),
        "updated_at": timestamp(alert.updated_at),
        "first_event_time": alert.first_event_time,
        "context": context_of(alert),
    }


def encode_within(content: dict[str, Any], limit: int, *, context: list[str]) -> bytes:
    """`content` as JSON of at most about `limit` bytes: when it is larger, the value at the path `context` is
    replaced by the beginning of its JSON text and a note."""
    body = msgspec.json.encode(content)
    if len(body) <= limit:
        return body
    holder = content
    for key in context[:-1]:
        holder = holder[key]
    text = msgspec.json.encode(holder[context[-1]]).decode()
    kept = max(0, limit - (len(body) - len(text.encode())) - 200) // 2  # quotes in text are escaped once more
    holder[context[-1]] = {
        "_truncated": f"{len(text)} characters of JSON, of which these are the first",
        "text": text[:kept],
    }
    return msgspec.json.encode(content)
