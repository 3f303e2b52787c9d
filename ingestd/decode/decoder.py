"""One object from its stored bytes to blocks of records."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Final

from ingestd.decode.block import Block, Damage, Fatal
from ingestd.decode.codec import EndOfMember, Plain
from ingestd.decode.compression import MAGIC_BYTES, Unpacker
from ingestd.decode.framing import HEAD_BYTES, JSON_ARRAY, Framer, Row, choose, problem_with
from ingestd.decode.limits import Limits
from ingestd.decode.text import BOM, looks_binary
from ingestd.decode.whole import whole_array
from ingestd.model import Framing

SLICE: Final = 16 * 1024
"""Stored bytes are decoded in slices of this size, counted from the beginning of the object, however they arrive: so
what comes out, down to the ordinal of the damage in a corrupt object, is the same each time the object is read.
Small, because the output of the slice in which a fault lies may be lost, and a bomb is noticed after one."""

_PIECE: Final = HEAD_BYTES
"""Plain pieces below this size are joined before they are framed: each call costs the same."""


class ObjectDecoder:
    """Stored bytes in, blocks of framed records out. Never raises for what the bytes are; memory does not depend on
    the size of the object. The iterators that `feed` and `finish` return must be read to their end, in order.

    When nothing more can be read, the good prefix has been yielded, one `Damage` has taken the next ordinal,
    `failure` says why, and further bytes are ignored.
    """

    def __init__(
        self, framing: Framing, limits: Limits | None = None, *, first_ordinal: int = 0, offset: int = 0
    ) -> None:
        """With `offset` the bytes given start there in an uncompressed object that has grown: `first_ordinal` goes
        with it, and `framing` should name the framing used before. Raises ValueError for a framing that
        `problem_with` finds fault with."""
        self.records = first_ordinal
        """Ordinals given out: the ordinal that the next record takes."""
        self.plain_bytes = offset
        """Position in the plain stream."""
        self.tail_open = False
        """From the last block on: what took the last ordinal may go on when the object grows. A record without
        a terminator, or the damage where the data was cut off."""
        self.failure: str | None = None
        self._limits = limits or Limits()
        self._framing = framing
        self._unpacker = Unpacker(self._limits, levels=0 if offset else 2)
        self._stored = 0
        self._waiting = b""
        """Stored bytes, less than a slice."""
        self._plain: list[bytes] = []
        """Plain pieces that were not framed yet."""
        self._plain_waiting = 0
        self._row: Row | None = None
        self._framer: Framer | None = None
        self._document_start = 0 if offset == 0 else -1
        """Where the document in hand begins in the plain stream; -1 when it was begun before `offset`."""
        self._skipping_member = False
        self._verdict: Fatal | None = None
        problem = problem_with(framing)
        if problem is not None:
            raise ValueError(problem)

    @property
    def compression(self) -> str:
        """`none`, `gzip`…, or `gzip+gzip` for nested ones."""
        return "+".join(self._unpacker.names) or "none"

    @property
    def framing(self) -> str:
        """Name of the framing in use; what was configured, until the first bytes have come."""
        return self._framing.name if self._row is None else self._row.name

    def feed(self, data: bytes) -> Iterator[Block]:
        """Blocks that the next stored bytes complete."""
        if self.failure is not None:
            return
        view = memoryview(data)
        start = 0
        if self._waiting:
            start = SLICE - len(self._waiting)
            self._waiting += view[:start]
            if len(self._waiting) < SLICE:
                return
            full, self._waiting = self._waiting, b""
            yield from self._decode(full)
        while len(view) - start >= SLICE and self.failure is None:
            yield from self._decode(view[start : start + SLICE])
            start += SLICE
        self._waiting = bytes(view[start:])

    def finish(self) -> Iterator[Block]:
        """The rest: the object has ended."""
        if self.failure is not None:
            return
        waiting, self._waiting = self._waiting, b""
        whole = self._whole_document(waiting) if not self._stored and self._document_start == 0 else None
        if whole is not None:  # JSON that is all there is: it need not be looked at for compression
            self._stored = self.plain_bytes = len(waiting)
            yield whole
            return
        yield from self._decode(waiting, last=True)

    def _decode(self, stored: bytes | memoryview, *, last: bool = False) -> Iterator[Block]:
        self._stored += len(stored)
        try:
            for piece in self._unpacker.feed(stored):
                yield from self._take(piece)
            if last:
                for piece in self._unpacker.finish():
                    yield from self._take(piece)
                yield from self._end_document()
        except Fatal as fatal:
            yield from self._fail(fatal)

    # --- from plain pieces to documents -----------------------------------------------------------------

    def _take(self, piece: Plain) -> Iterator[Block]:
        """Takes one thing that the unpacker yields."""
        if isinstance(piece, bytes):
            self.plain_bytes += len(piece)
            self._check_expansion()
            self._plain.append(piece)
            self._plain_waiting += len(piece)
            if self._plain_waiting >= _PIECE:
                yield from self._frame_waiting()
        elif isinstance(piece, EndOfMember):
            yield from self._end_document()
        else:
            yield from self._frame_waiting()
            yield self._damage(piece.reason, piece.detail, piece.payload, piece.offset)
            self._begin_document()

    def _check_expansion(self) -> None:
        if not self._unpacker.names:
            return
        limits, plain = self._limits, self.plain_bytes
        if plain > limits.max_plain_bytes:
            raise Fatal("expansion_limit", f"more than {limits.max_plain_bytes} plain bytes in a compressed object")
        if plain > limits.ratio_from_bytes and plain > limits.max_ratio * self._stored:
            detail = f"{self._stored} stored bytes became {plain}: more than {limits.max_ratio} to one"
            raise Fatal("expansion_limit", detail)

    def _frame_waiting(self) -> Iterator[Block]:
        """Gives the plain bytes that wait to the framer, which the first of them choose."""
        if not self._plain:
            return
        data = self._plain[0] if len(self._plain) == 1 else b"".join(self._plain)
        self._plain, self._plain_waiting = [], 0
        if self._skipping_member:
            return
        if self._verdict is not None:
            self._judge(final=False)
            return
        offset = self.plain_bytes - len(data)
        try:
            if self._framer is None:
                if offset == self._document_start and data.startswith(BOM):
                    data, offset = data[len(BOM) :], offset + len(BOM)
                self._framer = self._open_framer(data, offset)
            if self._framer is not None:
                yield from self._numbered(self._framer.feed(data))
        except Fatal as fatal:
            yield from self._member_ends(fatal)

    def _open_framer(self, head: bytes, offset: int) -> Framer | None:
        if self._row is None:
            self._row = choose(self._framing, head)
        if self._row.text and looks_binary(head[:HEAD_BYTES]):
            self._verdict = Fatal("not_text", _not_text(head), payload=head[:256], offset=offset)
            self._judge(final=False)
            return None
        return self._row.open(self._framing, self._limits, offset)

    def _judge(self, *, final: bool) -> None:
        """Raises the verdict on a binary beginning, but of a compressed object only when it was read far enough to
        see whether it is a bomb, which is then the better name for it."""
        verdict = self._verdict
        if verdict and (final or not self._unpacker.names or self.plain_bytes > self._limits.ratio_from_bytes):
            raise verdict

    def _end_document(self) -> Iterator[Block]:
        if self._plain_waiting == self.plain_bytes:  # unpacked as this may be, all of it waits
            whole = self._whole_document(b"".join(self._plain))
            if whole is not None:
                self._plain, self._plain_waiting = [], 0
                self._begin_document()
                yield whole
                return
        yield from self._frame_waiting()
        try:
            self._judge(final=True)
            if self._framer is not None and not self._skipping_member:
                for block in self._numbered(self._framer.finish()):
                    self.tail_open = self._framer.tail_open and not self._unpacker.is_archive
                    yield block
        except Fatal as fatal:
            yield from self._member_ends(fatal)
        self._begin_document()

    def _whole_document(self, data: bytes) -> Block | None:
        """The first document, of which `data` is all, when it can be cut in one step: see `whole`."""
        block = whole_array(data, self._framing, self._limits)
        if block is not None:
            self._row = JSON_ARRAY
            block.first = self.records
            self.records += len(block.records)
        return block

    def _begin_document(self) -> None:
        self._framer = None
        self._verdict = None
        self._skipping_member = False
        self._document_start = self.plain_bytes

    def _member_ends(self, fatal: Fatal) -> Iterator[Block]:
        """What is wrong within a file of an archive ends that file; otherwise it ends the object."""
        if not self._unpacker.is_archive:
            raise fatal
        yield self._damage(fatal.reason, fatal.detail, fatal.payload, fatal.offset)
        self._skipping_member = True

    # --- what comes out ---------------------------------------------------------------------------------

    def _fail(self, fatal: Fatal) -> Iterator[Block]:
        try:
            yield from self._frame_waiting()
            if fatal.whole:
                yield from self._end_document()
        except Fatal as sooner:
            fatal = sooner
        # so few bytes may be the beginning of a mark that would have said what they are
        self.tail_open = fatal.reason == "truncated" or self._stored < MAGIC_BYTES
        yield self._damage(fatal.reason, fatal.detail, fatal.payload, fatal.offset)
        self.failure = fatal.reason
        self._framer = None
        self._waiting = b""

    def _damage(self, reason: str, detail: str, payload: bytes, offset: int | None) -> Block:
        """A block of one `Damage`: where the fault says, else at the record that it cut short."""
        if offset is None:
            held = self._framer.abandon() if self._framer is not None else (self.plain_bytes, b"")
            offset, payload = (self.plain_bytes, payload) if payload else held
        damage = Damage(reason=reason, detail=detail, payload=payload[: self._limits.payload_bytes], offset=offset)
        block = Block([damage], offsets=[offset])
        block.first = self.records
        self.records += 1
        return block

    def _numbered(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            block.first = self.records
            self.records += len(block.records)
            yield block


def _not_text(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "the object is UTF-16: text must be UTF-8"
    return "the object does not begin as text, nor as anything that can be unpacked"
