"""Records that are elements of a JSON array: at the top of a document, or inside an envelope such as CloudTrail's
`{"Records": [...]}`. Documents may follow one another.

The array is never held whole. While bytes come, a place is guessed where an element probably ends (the last
`},{"firstKey":` in hand, as learnt from the elements before), and msgspec proves the guess: if `[` + the bytes up
to there + `]` is a JSON list, then those are exactly the elements, whatever stands in their strings. What cannot be
proven so is read value by value.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

import msgspec

from ingestd.decode.block import Block, Damage, Fatal, Record
from ingestd.decode.envelope import FOUND, Envelope, NotThere, Step, extract
from ingestd.decode.json_input import END, JsonFramer, Value, Wait
from ingestd.decode.json_scan import (
    CLOSE_ARRAY,
    CLOSE_OBJECT,
    COLON,
    COMMA,
    OPEN_ARRAY,
    OPEN_OBJECT,
    QUOTE,
    Scan,
    error_position,
)
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_block

decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BEGINS: Final = re.compile(rb'\{\s*+"[^"\\]{0,100}"')
_GAP: Final = re.compile(rb"\}\s*+,\s*+")
_OPENS: Final = re.compile(rb"\[[ \t\r\n]*+(.)", re.DOTALL)
_WORD: Final = re.compile(rb"[^,\]]++")
_END_OF_DOCUMENT: Final = re.compile(rb"\][\s\}]*+\Z")
_WAIT_FOR: Final = 256 * 1024
"""Elements are read one by one only when so much is in hand and no guess holds."""
_CAUTIOUS_FOR: Final = 32
"""After a guess that failed so many elements are read one by one, which bounds what failing guesses cost."""
_BEGINNING: Final = 256
_LONGEST_KEY: Final = 64 * 1024
_KEYS_SHOWN: Final = 20
_VAIN_BYTES: Final = 8 * 1024 * 1024
"""How many bytes of an object are scanned in vain for where a damaged element ends: seconds, when all is brackets."""


class JsonArrayFramer(JsonFramer):
    """The `json_array` framing. Without an envelope it takes a top-level array, and of an object every array of
    objects at one of the keys in `envelope.FOUND`."""

    def __init__(self, limits: Limits, offset: int, envelope: Envelope | None) -> None:
        super().__init__(limits, offset)
        self._envelope = envelope
        self._gap = b"},{"
        """What stands between two elements that are objects: a guess until one was seen."""
        self._separator = b""
        """The same with the first key of an element, once learnt."""
        self._cautious = 0
        self._vain = 0

    def parse(self) -> Generator[Block | None, None, None]:
        """See `JsonFramer`: one document after the other."""
        inp = self.input
        envelope = self._envelope
        while True:
            char = yield from inp.next_char()
            if char == END:
                return
            if char == OPEN_ARRAY and (envelope is None or not envelope.keys):
                inp.at += 1
                yield from self._elements(envelope.within if envelope else ())
            elif char == OPEN_OBJECT and (envelope is None or envelope.keys):
                begin, offset = inp.begin(), inp.offset
                keys: list[str] = []
                if not (yield from self._object(0, keys)):
                    yield self._no_array(begin, offset, keys)
            else:
                wanted = "an array" if envelope is not None and not envelope.keys else "an object"
                raise Fatal("invalid_json", f"{wanted} should begin here", payload=inp.begin())

    def _no_array(self, begin: bytes, offset: int, keys: list[str]) -> Block:
        where = ".".join(self._envelope.keys) if self._envelope else ", ".join(FOUND)
        detail = f"no array of records at {where}; the document has the keys {', '.join(keys) or '(none)'}"
        return Block(
            [Damage(reason="no_records_array", detail=detail, payload=begin, offset=offset)], offsets=[offset]
        )

    # --- the way to the array ---------------------------------------------------------------------------

    def _object(self, level: int, keys: list[str]) -> Generator[Block | None, None, bool]:
        """Goes through one object, `level` keys down the path; returns whether the array was there."""
        inp = self.input
        inp.at += 1
        there = False
        while True:
            char = yield from inp.next_char()
            if char == CLOSE_OBJECT:
                inp.at += 1
                return there
            if char == COMMA:
                inp.at += 1
                continue
            key = yield from self._key(char)
            if level == 0 and len(keys) < _KEYS_SHOWN:
                keys.append(key[:_KEYS_SHOWN])
            char = yield from inp.next_char()
            envelope = self._envelope_for(key, level)
            if envelope is None or char not in (OPEN_ARRAY, OPEN_OBJECT):
                there = there or (envelope is not None and level + 1 == len(envelope.keys))
                yield from inp.skip_value()
            elif level + 1 < len(envelope.keys) and char == OPEN_OBJECT:
                there = (yield from self._object(level + 1, keys)) or there
            elif level + 1 == len(envelope.keys) and char == OPEN_ARRAY and (yield from self._of_objects()):
                inp.at += 1
                there = True
                yield from self._elements(envelope.within)
            else:
                yield from inp.skip_value()

    def _envelope_for(self, key: str, level: int) -> Envelope | None:
        """The envelope whose path has `key` at `level`."""
        envelope = FOUND.get(key) if self._envelope is None else self._envelope
        return envelope if envelope is not None and envelope.keys[level] == key else None

    def _of_objects(self) -> Wait[bool]:
        """Whether the array that begins here may hold records: a found one must be empty or hold objects."""
        if self._envelope is not None:
            return True
        inp = self.input
        while True:
            match = _OPENS.match(inp.data, inp.at)
            if match is not None:
                return match[1] in (b"{", b"]")
            if inp.ended or inp.in_hand > _LONGEST_KEY:
                return False
            yield None

    def _key(self, char: int) -> Wait[str]:
        """Reads a key and the colon after it."""
        inp = self.input
        while char == QUOTE:
            match = _STRING.match(inp.data, inp.at)
            if match is not None:
                inp.at = match.end()
                colon = yield from inp.next_char()
                if colon != COLON:
                    char = colon
                    break
                inp.at += 1
                if (yield from inp.next_char()) == END:
                    char = END
                    break
                return match[0][1:-1].decode("utf-8", "replace")
            if inp.ended or inp.in_hand > _LONGEST_KEY:
                char = END if inp.ended else char
                break
            yield None
        if char == END:
            raise Fatal("truncated", "the data ends within a JSON object", payload=inp.begin())
        raise Fatal("invalid_json", "a key and its value should stand here", payload=inp.begin())

    # --- the elements -----------------------------------------------------------------------------------

    def _elements(self, within: tuple[Step, ...]) -> Generator[Block | None, None, None]:
        """Goes through the elements, and past the bracket that closes the array."""
        inp = self.input
        end_of_last = -1
        while True:
            char = yield from inp.next_char()
            if end_of_last > inp.base:
                self._learn(inp.data[end_of_last - inp.base - 1 : inp.at], inp.data[inp.at : inp.at + _BEGINNING])
            if char == CLOSE_ARRAY:
                inp.at += 1
                return
            block = self._guess()
            if block is None and not inp.ended and inp.in_hand < _WAIT_FOR:
                yield None
                continue
            blocks = self.one(self._resynchronise) if block is None else (block,)
            for found in blocks:
                yield self._extracted(found, within) if found is not None and within else found
            end_of_last = inp.offset if block is None else -1
            char = yield from inp.next_char()
            if char == COMMA:
                inp.at += 1
            elif char == END:
                raise Fatal("truncated", "the data ends within the array of records")
            elif char != CLOSE_ARRAY:
                raise Fatal("invalid_json", "neither a comma nor the end of the array", payload=inp.begin())

    def _guess(self) -> Block | None:
        """Elements in hand, proven; None when there is no guess that holds."""
        inp = self.input
        if self._cautious:
            self._cautious -= 1
            return None
        data, start = inp.data, inp.at
        if inp.ended and _END_OF_DOCUMENT.search(data, max(start, len(data) - 64)):
            cut = data.rfind(b"]")
        else:
            cut = self._last_separator(start, len(data))
        for _ in range(3):
            if cut <= start:
                break
            source = b"".join((b"[", memoryview(data)[start:cut], b"]"))
            try:
                slices = [bytes(raw) for raw in decode_list(source)]
            except (msgspec.DecodeError, RecursionError) as error:
                wrong = error_position(error)
                cut = self._last_separator(start, min(cut - 1, len(data) if wrong is None else start + wrong))
                continue
            if max(map(len, slices), default=0) > self.limits.max_record_bytes:
                break
            if slices and not self._separator:
                self._learn(self._gap[:-1], slices[-1][:_BEGINNING])
            inp.at = cut
            return text_block(slices, source, inp.base + start - 1, self.limits)
        self._cautious = _CAUTIOUS_FOR if inp.ended or inp.in_hand > _WAIT_FOR else 0
        return None

    def _last_separator(self, start: int, end: int) -> int:
        """Position after the element before the last separator in the range, or one not after `start`."""
        data = self.input.data
        at = data.rfind(self._separator, start, end) if self._separator else -1
        if at < 0:
            at = data.rfind(self._gap, start, end)
        if at >= 0:
            return at + 1
        if data.startswith(b"{", start) and not self._separator and not self.input.ended:
            return -1  # most commas stand within an object, which ends in bytes that are still to come
        return data.rfind(b",", start, end)

    def _learn(self, gap: bytes, element: bytes) -> None:
        """Takes note of how elements are set apart, and of the first key of one."""
        begin = _BEGINS.match(element)
        if begin is not None and _GAP.fullmatch(gap):
            self._gap = gap + b"{"
            self._separator = gap + begin[0]

    def _extracted(self, block: Block, within: tuple[Step, ...]) -> Block:
        """The records within the elements of `block`."""
        records: list[Record] = []
        offsets: list[int] = []
        for index, element in enumerate(block.records):
            found = [element] if isinstance(element, Damage) else self._within(element, block, index, within)
            records += found
            offsets += [block.offset_of(index)] * len(found)
        return Block(records, offsets=offsets)

    def _within(self, element: bytes, block: Block, index: int, within: tuple[Step, ...]) -> list[Record]:
        try:
            return [*extract(element, within)]
        except NotThere as error:
            reason, detail = "no_record_in_element", str(error)
        except (msgspec.DecodeError, RecursionError) as error:
            reason, detail = "invalid_json", str(error)
        payload = element[: self.limits.payload_bytes]
        return [Damage(reason=reason, detail=detail, payload=payload, offset=block.offset_of(index))]

    # --- after damage -----------------------------------------------------------------------------------

    def _resynchronise(self, value: Value) -> Wait[None]:
        """Goes to the end of a damaged element: where its brackets balance if another element follows there, else
        where the next element begins as the ones before did. Raises `Fatal` when there is no such place."""
        inp = self.input
        self._cautious = _CAUTIOUS_FOR
        while True:
            end = self._balanced_end()
            if end is not None:
                inp.at = end
                return
            if self._separator:
                at = inp.data.find(self._separator, inp.at + max(1, value.bad_at - len(self._separator)))
                if at >= 0:
                    inp.at = at + 1
                    return
            if inp.ended or inp.in_hand > self.limits.max_record_bytes:
                detail = f"{value.detail}; no place was found after it where the array goes on"
                raise Fatal(value.reason, detail, payload=value.data, offset=value.offset)
            more_than = inp.in_hand
            while inp.in_hand < 2 * more_than and not inp.ended:
                yield None

    def _balanced_end(self) -> int | None:
        """Where the brackets of the element balance, if what follows there is the next one or the array's end."""
        inp = self.input
        if inp.data[inp.at] in (OPEN_OBJECT, OPEN_ARRAY):
            complete, end = Scan().run(inp.data, inp.at, inp.at + _WAIT_FOR)
        else:
            match = _WORD.match(inp.data, inp.at)
            complete, end = match is not None, match.end() if match else inp.at
        follows = self._separator[1:] or b","
        tail = inp.data[end : end + _BEGINNING]
        if complete and (tail.startswith(follows) or tail.lstrip().startswith(b"]")):
            return end
        self._vain += end - inp.at
        if self._vain > _VAIN_BYTES:
            raise Fatal("too_much_damage", "too many elements of the array are not JSON", payload=inp.begin())
        return None
