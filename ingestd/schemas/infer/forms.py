"""What a text looks like: a number, a moment, an address. One text may have several forms."""

from __future__ import annotations

import re
from typing import Final

import orjson

from ingestd.schemas import indicators
from ingestd.schemas.memo import Memo
from ingestd.schemas.timestamps import format_reader

Forms = tuple[str, ...]

ABSENT: Final = frozenset(
    {
        "",
        "-",
        "--",
        "N/A",
        "n/a",
        "NA",
        "null",
        "NULL",
        "None",
        "none",
        "nil",
        "(null)",
        "(none)",
        "redacted",
        "REDACTED",
        "[REDACTED]",
        "<redacted>",
        "...",
        "***",
    }
)
"""Texts that stand for "nothing here"."""

TIMES: Final = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S,%f", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f %z", "%Y-%m-%d %H:%M:%S %Z",
    "%Y-%m-%d %H:%M:%S.%f %Z", "%Y/%m/%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z",
    "%a, %d %b %Y %H:%M:%S %z", "%a %b %e %H:%M:%S %Y", "%b %e %H:%M:%S", "%b %d %Y %H:%M:%S",
    "%a %b %e %H:%M:%S %Y %Z", "%d %b %Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S",
    "%Y%m%dT%H%M%S%z", "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d",
)  # fmt: skip
"""Patterns that are tried beside rfc3339 and the epoch units, the likelier of two that fit a text first."""
EPOCHS: Final = {"unix": 1, "unix_ms": 1_000, "unix_us": 1_000_000, "unix_ns": 1_000_000_000}
"""Units of counts since 1970 in a second."""
EARLIEST, LATEST = 946_684_800, 4_102_444_800  # 2000 and 2100: what a count must be within to be taken for a time

TIME_FORMS: Final = frozenset({"rfc3339", *TIMES, *EPOCHS})

_LONGEST = 4096
_READERS = [(name, format_reader(name)) for name in TIMES]
_rfc3339 = format_reader("rfc3339")
_MAYBE_TIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,:./+-]{6,38}\Z", re.ASCII)
_INT = re.compile(r"(?:0|-?[1-9]\d{0,18})\Z", re.ASCII)
_DIGITS = re.compile(r"-?\d+\Z", re.ASCII)
_FLOAT = re.compile(r"-?(?:0|[1-9]\d{0,14})\.(\d{1,15})\Z", re.ASCII)
_DOMAIN = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.)+[a-z][a-z0-9-]{1,62}\.?\Z", re.I | re.ASCII)
_PORT = re.compile(r"(?:[\w-]+\.[\w.-]+|localhost|\[[0-9a-fA-F:]+\]):\d{1,5}\Z", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.I | re.ASCII)
_HASHES = {32: "md5", 40: "sha1", 64: "sha256"}
_HEX = re.compile(r"[0-9a-fA-F]+\Z")
_INSTANCE = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?\Z")


def epochs(number: float) -> Forms:
    """Units in which the number is a moment of this century."""
    return tuple(name for name, scale in EPOCHS.items() if EARLIEST * scale <= number <= LATEST * scale)


def _digits(text: str) -> Forms:
    found = ["int"] if _INT.match(text) and -(1 << 63) <= int(text) < 1 << 63 else ["digits"]
    if len(text) == 12:
        found.append("aws_account_id")
    if len(text) in _HASHES:
        found.append(_HASHES[len(text)])
    if len(text) <= 19:
        found += epochs(int(text))
    return tuple(found)


def _times(text: str) -> Forms:
    if _rfc3339(text) is not None:
        return ("rfc3339",)
    return tuple(name for name, read in _READERS if read(text) is not None)


def _embedded(text: str) -> bool:
    try:
        return bool(orjson.loads(text))
    except ValueError:
        return False


def _named(text: str) -> Forms:
    """Indicators that the text proves by its form."""
    if text[:4] == "arn:":
        return ("aws_arn",) if indicators.arn(text) else ()
    if "://" in text:
        return ("url",) if text[:1].isalpha() and indicators.url_host(text)[1] else ()
    if (text.count(".") == 3 or text.count(":") > 1) and len(text) < 46 and indicators.ip(text):
        return ("ip",)
    if "@" in text:
        return ("email",) if indicators.email(text)[0] else ()
    if len(text) in _HASHES and _HEX.match(text):
        return (_HASHES[len(text)],)
    if len(text) in (14, 17) and indicators.mac(text):
        return ("mac",)
    for name, pattern in (("uuid", _UUID), ("aws_instance_id", _INSTANCE), ("net_addr", _PORT), ("domain", _DOMAIN)):
        if pattern.match(text):
            return (name,)
    return ()


def forms_of(text: str) -> Forms:
    """The forms of a text; `absent`, or `text` when it has no other. Never raises."""
    stripped = text.strip()
    if stripped in ABSENT:
        return ("absent",) if stripped else ("blank",)
    if len(stripped) > _LONGEST or stripped != text:
        return ("json",) if stripped[0] in "{[" and _embedded(stripped) else ("text",)
    if _DIGITS.match(text):
        return _digits(text)
    if _FLOAT.match(text):
        return ("float", *(("unix",) if epochs(float(text))[:1] == ("unix",) else ()))
    if text in {"true", "false", "True", "False", "TRUE", "FALSE"}:
        return ("boolean",)
    if text[0] in "{[" and _embedded(text):
        return ("json",)
    found = _named(text)
    if not found and _MAYBE_TIME.match(text) and any(char.isdigit() for char in text):
        found = _times(text)
    return found or ("text",)


FORMS: Final = Memo(forms_of)
