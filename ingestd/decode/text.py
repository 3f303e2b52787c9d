"""Is it text? Judged for the beginning of an object, and for each record."""

from __future__ import annotations

import codecs

from ingestd.decode.block import Block, Damage, Record
from ingestd.decode.limits import Limits

BOM = codecs.BOM_UTF8

_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_BINARY_SHARE = 0.1


def looks_binary(head: bytes) -> bool:
    """Whether more than a tenth of `head` is control characters or not UTF-8.

    Random bytes have a half of it, UTF-16 too. A text in an old 8-bit encoding, or with a few NULs in it, stays
    below: there each bad record is rejected by itself.
    """
    if head.isascii() and b"\0" not in head:
        return False
    decoded = len(head.decode("utf-8", "ignore").encode())
    undecodable = max(0, len(head) - decoded - 3)  # the head may be cut within a character
    controls = len(head) - len(head.translate(None, _CONTROL))
    return undecodable + controls > _BINARY_SHARE * len(head)


def text_block(slices: list[bytes], source: bytes, base: int, limits: Limits) -> Block:
    """A block of `slices` of `source`, each that is not text replaced by its `Damage`."""
    records: list[Record] = list(slices)
    block = Block(records, slices=slices, source=source, base=base)
    if _is_text(source):
        return block
    for index, piece in enumerate(slices):
        fault = text_fault(piece)
        if fault is not None:
            payload, offset = piece[: limits.payload_bytes], block.offset_of(index)
            records[index] = Damage(reason=fault[0], detail=fault[1], payload=payload, offset=offset)
    return block


def _is_text(source: bytes) -> bool:
    if b"\0" in source:
        return False
    if source.isascii():
        return True
    try:
        source.decode()
    except UnicodeDecodeError:
        return False
    return True


def text_fault(record: bytes) -> tuple[str, str] | None:
    """Reason and detail when `record` is not text, else None."""
    if b"\0" in record:
        return "not_text", f"a NUL byte at byte {record.index(0)} of the record"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", f"byte {error.start} of the record is not UTF-8: {error.reason}"
    return None
