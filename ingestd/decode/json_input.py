"""The bytes a JSON framer has in hand, and reading values from them.

Framers are written as one generator each, top to bottom in the order of the grammar. Where one needs bytes that have
not come yet it yields None; `JsonFramer.feed` then returns, and the next call goes on at that place.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import Final, TypeVar

import msgspec

from ingestd.decode.block import Block, Damage, Fatal
from ingestd.decode.json_scan import OPEN_ARRAY, OPEN_OBJECT, QUOTE, WHITESPACE, Found, Scan, probe
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_fault

T = TypeVar("T")
Wait = Generator[None, None, T]
"""Ends with a `T`; each None on the way asks for more bytes."""

END: Final = -1
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_WORD: Final = re.compile(rb'[^\s,:"{}\[\]]*+')
_DEEPEST_FOLLOWED: Final = 1_000_000
_LOOK_FIRST: Final = 64 * 1024


class Value(msgspec.Struct, frozen=True):
    """A value that was read, or why there is none. `input.at` is behind a good one, and on the others."""

    data: bytes
    """The bytes of the value; of one that is not whole, its beginning."""
    offset: int
    reason: str = ""
    """Empty for a good value; else `record_too_long` or `nesting_too_deep` (`skip_value` passes over them),
    `invalid_json` or `truncated`."""
    detail: str = ""
    bad_at: int = 0
    """For `invalid_json`: how many bytes after its beginning the first wrong one is."""


class JsonInput:
    """`data[at:]` is what is in hand and not consumed; `data[0]` is at offset `base` of the plain stream."""

    def __init__(self, limits: Limits, offset: int) -> None:
        self.data = b""
        self.at = 0
        self.base = offset
        self.ended = False
        self.limits = limits

    @property
    def offset(self) -> int:
        """Plain offset of the next byte."""
        return self.base + self.at

    @property
    def in_hand(self) -> int:
        """Number of bytes not consumed."""
        return len(self.data) - self.at

    def push(self, data: bytes) -> None:
        """Add the next bytes; what is consumed is dropped."""
        self.base += self.at
        self.data = self.data[self.at :] + data if self.at < len(self.data) else data
        self.at = 0

    def begin(self) -> bytes:
        """The beginning of what is in hand, for a `Damage`."""
        return self.data[self.at : self.at + self.limits.payload_bytes]

    def next_char(self) -> Wait[int]:
        """Skips whitespace; the next byte, not consumed, or `END`."""
        while True:
            match = _SPACE.match(self.data, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.data):
                return self.data[self.at]
            if self.ended:
                return END
            yield None

    def value(self) -> Wait[Value]:
        """Reads the value that begins at the next byte. Looks again only when twice as much is there."""
        look_at = 0
        while True:
            while self.in_hand < look_at and not self.ended:
                yield None
            found, end = probe(self.data, self.at)
            if found is Found.MORE or (found is Found.WHOLE and (self.ended or self._closed())):
                return self._take(end)
            if found is Found.BAD:
                detail = f"byte {end - self.at} of the value cannot stand there in JSON"
                return Value(self.begin(), self.offset, "invalid_json", detail, end - self.at)
            if found is Found.DEEP:
                detail = "the value nests too deep to be looked at"
                return Value(self.begin(), self.offset, "nesting_too_deep", detail)
            if self.in_hand > self.limits.max_record_bytes:
                return Value(self.begin(), self.offset, "record_too_long", self._too_long())
            if self.ended:
                return Value(self.begin(), self.offset, "truncated", "the data ends within a JSON value")
            look_at = max(2 * self.in_hand, _LOOK_FIRST) if self.in_hand > _LOOK_FIRST // 2 else self.in_hand + 1

    def skip_value(self) -> Wait[None]:
        """Passes over the value that begins at the next byte, without holding it."""
        first = self.data[self.at]
        if first in (OPEN_OBJECT, OPEN_ARRAY, QUOTE):
            yield from self._scan()
            return
        while True:
            match = _WORD.match(self.data, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.data) or self.ended:
                return
            yield None

    def _closed(self) -> bool:
        """Whether the value ends by itself: a number at the end of what is in hand may go on."""
        return self.data[self.at] in (OPEN_OBJECT, OPEN_ARRAY, QUOTE)

    def _take(self, end: int) -> Value:
        data, offset = self.data[self.at : end].rstrip(WHITESPACE), self.offset
        if len(data) > self.limits.max_record_bytes:
            return Value(self.begin(), offset, "record_too_long", self._too_long())
        self.at += len(data)
        return Value(data, offset)

    def _too_long(self) -> str:
        return f"the record is longer than {self.limits.max_record_bytes} bytes"

    def _scan(self) -> Wait[None]:
        """Passes over a container or string in constant memory; at the end of the data, over what is there."""
        scan = Scan(in_string=self.data[self.at] == QUOTE)
        self.at += scan.in_string
        while True:
            complete, self.at = scan.run(self.data, self.at)
            if complete:
                return
            if scan.depth > _DEEPEST_FOLLOWED:
                raise Fatal("nesting_too_deep", f"nested deeper than {_DEEPEST_FOLLOWED} levels: not read further")
            if self.ended:
                self.at = len(self.data)
                return
            yield None


class JsonFramer(ABC):
    """Drives one parser. See `framing.Framer` for the contract."""

    tail_open = False

    def __init__(self, limits: Limits, offset: int) -> None:
        self.limits = limits
        self.input = JsonInput(limits, offset)
        self._parser = self.parse()

    def one(self, resynchronise: Callable[[Value], Wait[None]]) -> Generator[Block | None, None, None]:
        """The next value as a block of its own, and past it; `resynchronise` goes past what is not JSON."""
        value = yield from self.input.value()
        if value.reason == "truncated":
            raise Fatal(value.reason, value.detail, payload=value.data, offset=value.offset)
        if value.reason == "invalid_json":
            yield from resynchronise(value)
        yield self._block(value)
        if value.reason in ("record_too_long", "nesting_too_deep"):
            yield from self.input.skip_value()

    @abstractmethod
    def parse(self) -> Generator[Block | None, None, None]:
        """The whole stream: blocks, and None to ask for more bytes."""

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        self.input.push(data)
        for block in self._parser:
            if block is None:
                return
            yield block

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        self.input.ended = True
        yield from self.feed(b"")

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        return self.input.offset, self.input.begin()

    def _block(self, value: Value) -> Block:
        reason, detail = value.reason, value.detail
        if not reason:
            fault = text_fault(value.data)
            if fault is None:
                return Block([value.data], offsets=[value.offset])
            reason, detail = fault
        payload = value.data[: self.limits.payload_bytes]
        return Block(
            [Damage(reason=reason, detail=detail, payload=payload, offset=value.offset)], offsets=[value.offset]
        )
