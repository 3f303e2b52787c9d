"""Records that are JSON values one after the other: JSON lines, pretty-printed, or with nothing between them."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

import msgspec

from ingestd.decode.block import Block
from ingestd.decode.json_input import END, JsonFramer, Value, Wait
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_block

_decode_lines: Final = msgspec.json.Decoder(msgspec.Raw).decode_lines
_SINGLY_FOR: Final = 64
"""When the lines in hand are not one value each, so many values are read one by one before lines are tried again."""
_LINE_THAT_OPENS: Final = re.compile(rb"\n[\[{]")


class JsonValuesFramer(JsonFramer):
    """The `json` framing. After bytes that are not JSON it goes on at the next line that begins with a bracket."""

    def __init__(self, limits: Limits, offset: int) -> None:
        super().__init__(limits, offset)
        self._singly = 0

    def parse(self) -> Generator[Block | None, None, None]:
        """See `JsonFramer`."""
        while True:
            char = yield from self.input.next_char()
            if char == END:
                return
            block = self._lines()
            if block is not None:
                yield block
                continue
            yield from self.one(self._resynchronise)

    def _lines(self) -> Block | None:
        """All whole lines in hand, when each is one JSON value."""
        inp = self.input
        if self._singly:
            self._singly -= 1
            return None
        cut = inp.data.rfind(b"\n", inp.at) + 1
        if not cut or cut - inp.at > self.limits.max_record_bytes:
            return None
        try:
            slices = [bytes(raw) for raw in _decode_lines(memoryview(inp.data)[inp.at : cut])]
        except (msgspec.DecodeError, RecursionError):
            self._singly = _SINGLY_FOR
            return None
        block = text_block(slices, inp.data[inp.at : cut], inp.offset, self.limits)
        inp.at = cut
        return block

    def _resynchronise(self, value: Value) -> Wait[None]:
        """Passes over bytes up to the next line that begins with a bracket."""
        inp = self.input
        inp.at += value.bad_at
        while True:
            match = _LINE_THAT_OPENS.search(inp.data, inp.at)
            if match is not None:
                inp.at = match.end() - 1
                return
            if inp.ended:
                inp.at = len(inp.data)
                return
            inp.at = max(inp.at, len(inp.data) - 1)  # the line end may be there, the bracket not yet
            yield None
