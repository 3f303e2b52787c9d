"""The framed snappy format (`sNaPpY`): chunks of at most 64 KiB, each with its checksum.

The chunks are found here, so that memory is bounded; cramjam unpacks them and checks the sums.
"""

from __future__ import annotations

from collections.abc import Iterator

import cramjam

from ingestd.decode.block import Fatal
from ingestd.decode.limits import Limits

_STREAM = b"\xff\x06\x00\x00sNaPpY"
_COMPRESSED, _PLAIN, _SKIPPABLE, _IDENTIFIER = 0x00, 0x01, 0x80, 0xFF
_LONGEST_CHUNK = 4 + 76490 + 4
"""Header, and what 64 KiB may become in the worst case, with the checksum."""
_CHUNKS_AT_ONCE = 16


class SnappyCodec:
    """See `codec.Codec`."""

    def __init__(self, _: Limits) -> None:
        self._buffer = b""
        self._skip = 0

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """See `codec.Codec`."""
        data = self._buffer + bytes(data)
        at = min(self._skip, len(data))
        self._skip -= at
        group: list[bytes] = []
        while len(data) - at >= 4:
            kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
            if kind == _IDENTIFIER or kind >= _SKIPPABLE:
                group_end = min(len(data), at + 4 + length)
                self._skip = at + 4 + length - group_end
                at = group_end
                continue
            if kind not in (_COMPRESSED, _PLAIN) or length > _LONGEST_CHUNK:
                yield from _unpack(group)
                raise Fatal("corrupt_snappy", f"a chunk of type {kind:#x} and {length} bytes is not snappy")
            if len(data) - at < 4 + length:
                break
            group.append(data[at : at + 4 + length])
            at += 4 + length
            if len(group) == _CHUNKS_AT_ONCE:
                yield from _unpack(group)
                group = []
        yield from _unpack(group)
        self._buffer = data[at:]

    def finish(self) -> Iterator[bytes]:
        """See `codec.Codec`."""
        if self._buffer or self._skip:
            raise Fatal("truncated", "the snappy data ends within a chunk")
        yield from ()


def _unpack(chunks: list[bytes]) -> Iterator[bytes]:
    if not chunks:
        return
    try:
        yield bytes(cramjam.snappy.decompress(_STREAM + b"".join(chunks)))
    except cramjam.DecompressionError as error:
        if len(chunks) > 1:
            for chunk in chunks:
                yield from _unpack([chunk])
        raise Fatal("corrupt_snappy", f"the snappy data is damaged: {error}") from error
