"""Small documents that are there whole, which most objects of a busy bucket are.

The framers are made for bytes that come piece by piece, and for all that can be wrong with them. Of one array that is
all there, with nothing wrong in it, nothing need be guessed: that is proven at once, in a fifth of the time. What is
unusual in any way is left to the framers, who come to the same records.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from ingestd.decode.block import Block
from ingestd.decode.envelope import FOUND, Envelope
from ingestd.decode.json_array import decode_list
from ingestd.decode.json_scan import WHITESPACE
from ingestd.decode.limits import Limits
from ingestd.decode.text import looks_binary, text_block
from ingestd.model import Framing

_BEGINS: Final = re.compile(rb'(?:\{[ \t\r\n]*+"([^"\\]++)"[ \t\r\n]*+:[ \t\r\n]*+)?+(?=\[[ \t\r\n]*+\{)')
_SHALLOW: Final = 256
"""So many brackets cannot nest deeper than msgspec follows them from any place, however many calls it is below."""


def whole_array(data: bytes, framing: Framing, limits: Limits) -> Block | None:
    """The records of the document `data` when it is an array of objects, alone or as the only field of an object, and
    `framing` takes it for a `json_array`. It is all there is, and not more than is looked at to find the framing.
    None for all else."""
    begins = _BEGINS.match(data)
    if begins is None or framing.name not in ("auto", "json_array") or not _is_wanted(begins[1], framing):
        return None
    start, end = begins.end(), data.rfind(b"]") + 1
    if data[end:].strip(WHITESPACE) != (b"}" if begins[1] else b""):
        return None
    source = data[start:end]
    if source.count(b"{") + source.count(b"[") > _SHALLOW or looks_binary(data):
        return None
    try:
        slices = [bytes(raw) for raw in decode_list(source)]
    except msgspec.DecodeError:
        return None
    if max(map(len, slices)) > limits.max_record_bytes:
        return None
    return text_block(slices, source, start, limits)


def _is_wanted(key: bytes | None, framing: Framing) -> bool:
    """Whether the array at `key`, or at the top, is the one to take, and its elements are the records."""
    if key is None:
        return framing.envelope is None or Envelope.parse(framing.envelope) == Envelope()
    name = key.decode("utf-8", "replace")
    envelope = FOUND.get(name) if framing.envelope is None else Envelope.parse(framing.envelope)
    return envelope == Envelope((name,))
