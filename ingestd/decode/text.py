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
    block = Block(records, source, base)
    if source.isascii():
        if b"\0" not in source:
            return block
    elif b"\0" not in source:
        try:
            source.decode()
        except UnicodeDecodeError:
            pass  # some record is damaged: found below
        else:
            return block
    for index, piece in enumerate(slices):
        fault = text_fault(piece)
        if fault is not None:
            reason, detail = fault
            records[index] = Damage(
                reason=reason,
                detail=detail,
                payload=piece[: limits.payload_bytes],
                offset=Block(list(slices), source, base).offset_of(index),
            )
    return Block(records, source, base, slices=slices)


def text_fault(record: bytes) -> tuple[str, str] | None:
    """Reason and detail when `record` is not text, else None."""
    if b"\0" in record:
        return "not_text", f"a NUL byte at byte {record.index(0)} of the record"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", f"byte {error.start} of the record is not UTF-8: {error.reason}"
    return None
