"""Records that are XML elements: the children of one that encloses them, or elements one after the other.

An element is found by its own tags alone, so that damage within one costs that one, and is then parsed by itself. The
parser never sees a document type: what declares entities ends the object, and nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from ingestd.decode.block import Block, Damage, Fatal, Record
from ingestd.decode.limits import Limits
from ingestd.decode.text import text_fault
from ingestd.decode.xml_values import Unusable, to_json

_NAME: Final = rb"[A-Za-z_\x80-\xff][\w.:\x80-\xff-]{0,199}"
_SNIFF: Final = re.compile(rb"<(?:\?xml\s|!DOCTYPE\s|!--|" + _NAME + rb"(?:\s+[\w.:-]+\s*=\s*[\"']|\s*/?>))")
_START: Final = re.compile(rb"<(" + _NAME + rb")(?=[\s/>])")
_TAG_END: Final = re.compile(rb"(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+>")
_ENCODING: Final = re.compile(rb"encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_SKIPPED: Final = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}
"""What is no element and may hold anything: how it begins → how it ends."""
_LONGEST_TOKEN: Final = 9
_WRAPPERS: Final = frozenset({b"events", b"records", b"logs", b"items", b"entries", b"rows", b"results"})
_LONGEST_TAG: Final = 64 * 1024
_MOST_WITHIN: Final = 100
"""Elements of a record's own name within each other; deeper than that no record is read."""
_VAIN_BYTES: Final = 4 * 1024 * 1024
"""How many bytes of a document are looked through in vain for the end of elements that are never closed."""

Step = Generator[Block | None, None, None]


def is_xml(head: bytes) -> bool:
    """Whether this is the beginning of an XML document."""
    return _SNIFF.match(head) is not None and (b"</" in head or b"/>" in head)


class _Wrapper(NamedTuple):
    """The element around the records: its name, and its start tag, which may declare namespaces."""

    name: bytes
    tag: bytes


class XmlFramer:
    """The `xml` framing. `root_element` names the element that encloses the records; without it, one whose name says
    so (`Events`, or the plural of the first child's) does. `arrays` are elements that may repeat: their field is an
    array also where there is one of them."""

    tail_open = False

    def __init__(
        self, limits: Limits, offset: int, root_element: str | None = None, arrays: tuple[str, ...] = ()
    ) -> None:
        self._limits = limits
        self._root_element = None if root_element is None else root_element.encode()
        self._arrays = frozenset(arrays)
        self._data = b""
        self._at = 0
        """What lies before is done with."""
        self._base = offset
        self._ended = False
        self._declaration = b""
        self._vain = 0
        self._parser = self._documents()

    def feed(self, data: bytes) -> Iterator[Block]:
        """See `framing.Framer`."""
        self._base += self._at
        self._data = self._data[self._at :] + data
        self._at = 0
        for block in self._parser:
            if block is None:
                return
            yield block

    def finish(self) -> Iterator[Block]:
        """See `framing.Framer`."""
        self._ended = True
        yield from self.feed(b"")

    def abandon(self) -> tuple[int, bytes]:
        """See `framing.Framer`."""
        return self._base + self._at, self._begin()

    # --- from documents to elements ---------------------------------------------------------------------

    def _documents(self) -> Step:
        while (yield from self._to_element(None)):
            wrapper = yield from self._wrapper()
            if wrapper is None:
                yield from self._element(None)
                continue
            while (yield from self._to_element(wrapper)):
                yield from self._element(wrapper)

    def _wrapper(self) -> Generator[None, None, _Wrapper | None]:
        """The enclosing element, passed over, when it is one that begins here."""
        name, tag = yield from self._tag()
        if self._root_element is not None:
            found = name.rpartition(b":")[2] == self._root_element
        else:
            found = not tag.endswith(b"/>") and (yield from self._encloses(name, len(tag)))
        if not found:
            return None
        self._at += len(tag)
        return _Wrapper(name, tag)

    def _encloses(self, name: bytes, after: int) -> Generator[None, None, bool]:
        """Whether the element's name says that it encloses its first child, to be found `after` its own beginning."""
        plain = name.rpartition(b":")[2].lower()
        while True:
            rest = self._data[self._at + after :].lstrip()
            if b">" in rest or len(rest) > _LONGEST_TAG or self._ended:
                break
            yield None
        child = _START.match(rest)
        if child is None:
            return plain in _WRAPPERS and rest.startswith(b"<") and not rest.startswith(b"<![")
        return plain in _WRAPPERS or plain == child[1].rpartition(b":")[2].lower() + b"s"

    def _tag(self) -> Generator[None, None, tuple[bytes, bytes]]:
        """Name and whole text of the start tag that begins here."""
        while (end := _TAG_END.match(self._data, self._at)) is None:
            if self._ended:
                raise Fatal("truncated", "the data ends within a tag", payload=self._begin())
            if len(self._data) - self._at > _LONGEST_TAG:
                raise Fatal("invalid_xml", "a tag that does not end", payload=self._begin())
            yield None
        start = _START.match(self._data, self._at)
        if start is None:
            raise Fatal("invalid_xml", "an element should begin here", payload=self._begin())
        return start[1], self._data[self._at : end.end()]

    def _to_element(self, wrapper: _Wrapper | None) -> Generator[Block | None, None, bool]:
        """Goes on to the next start tag; False at the end of the wrapper, or of the data."""
        while True:
            yield from self._have(_LONGEST_TOKEN)
            at, data = self._at, self._data
            if at == len(data):
                if wrapper is not None:
                    raise Fatal("truncated", f"the data ends before </{wrapper.name.decode('utf-8', 'replace')}>")
                return False
            if data[at] in b" \t\r\n":
                self._at = len(data) - len(data[at:].lstrip())
            elif not data.startswith(b"<", at):
                yield from self._stray()
            elif data.startswith((b"<!--", b"<?"), at):
                yield from self._aside()
            elif data.startswith(b"<!", at):
                yield from self._document_type()
            elif data.startswith(b"</", at):
                end = yield from self._find(b">", at)
                self._at = end
                if wrapper is not None:
                    return False
            else:
                return True

    def _aside(self) -> Generator[None, None, None]:
        """Passes over a comment or an instruction; the XML declaration says how the text is encoded."""
        opening, closing = next(pair for pair in _SKIPPED.items() if self._data.startswith(pair[0], self._at))
        end = yield from self._find(closing, self._at + len(opening))
        text = self._data[self._at : end]
        encoding = _ENCODING.search(text) if text.startswith(b"<?xml") else None
        if encoding is not None and encoding[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            self._declaration = b'<?xml version="1.0" encoding="' + encoding[1] + b'"?>'
        self._at = end

    def _document_type(self) -> Generator[None, None, None]:
        end = yield from self._find(b">", self._at)
        if b"[" in self._data[self._at : end] or not self._data.startswith(b"<!DOCTYPE", self._at):
            raise Fatal(
                "xml_entities", "the document declares a type of its own: it is not read", payload=self._begin()
            )
        self._at = end

    def _stray(self) -> Step:
        """Text where an element should be."""
        begin, offset = self._begin(), self._base + self._at
        while (end := self._data.find(b"<", self._at)) < 0 and not self._ended:
            self._at = len(self._data)
            yield None
        self._at = end if end >= 0 else len(self._data)
        yield _damage("invalid_xml", "text stands where an element should begin", begin, offset)

    # --- one element ------------------------------------------------------------------------------------

    def _element(self, wrapper: _Wrapper | None) -> Step:
        """The element that begins here, as a record, and past it."""
        start = yield from self._name()
        scan = _Scan(start, wrapper.name if wrapper is not None else b"")
        too_long = False
        while not (ended := scan.run(self._data, self._at)):
            if too_long:
                self._at, scan.position = self._at + scan.position, 0
            elif len(self._data) - self._at > self._limits.max_record_bytes:
                yield self._too_long()
                too_long = True
                continue
            if self._ended:
                break
            yield None
        if not ended or scan.broken:
            if wrapper is not None and not scan.broken:
                raise Fatal("truncated", "the data ends within an element", payload=self._begin())
            yield from self._give_up(scan, damaged=too_long)
            return
        data, offset = self._data[self._at : self._at + scan.position], self._base + self._at
        if too_long:
            self._at += scan.position
        elif len(data) > self._limits.max_record_bytes:
            yield self._too_long()
            self._at += scan.position
        else:
            self._at += scan.position
            record = self._record(data, offset, wrapper)
            yield Block([record], offsets=[offset])

    def _name(self) -> Generator[None, None, bytes]:
        while (start := _START.match(self._data, self._at)) is None:
            if self._ended or len(self._data) - self._at > _LONGEST_TAG:
                reason = "truncated" if self._ended else "invalid_xml"
                raise Fatal(reason, "an element should begin here", payload=self._begin())
            yield None
        return start[1]

    def _give_up(self, scan: _Scan, *, damaged: bool) -> Step:
        """The element has no end: go on where the next one of its name begins."""
        self._vain += scan.position
        if damaged:
            self._at = len(self._data) if not scan.broken else self._at + scan.position
            return
        if not scan.restart and not scan.broken:
            raise Fatal("truncated", "the data ends within an element", payload=self._begin())
        if self._vain > _VAIN_BYTES:
            raise Fatal("too_much_damage", "too many elements are never closed", payload=self._begin())
        yield _damage("invalid_xml", "the element is not closed", self._begin(), self._base + self._at)
        self._at += scan.restart or scan.position

    def _record(self, data: bytes, offset: int, wrapper: _Wrapper | None) -> Record:
        fault = text_fault(data) if not self._declaration else None
        if fault is None:
            around = (wrapper.tag, b"</" + wrapper.name + b">") if wrapper is not None else (b"", b"")
            try:
                document = self._declaration + around[0] + data + around[1]
                return to_json(document, enclosed=wrapper is not None, arrays=self._arrays)
            except Unusable as error:
                fault = (error.reason, error.detail)
        payload = data[: self._limits.payload_bytes]
        return Damage(reason=fault[0], detail=fault[1], payload=payload, offset=offset)

    # --- bytes ------------------------------------------------------------------------------------------

    def _begin(self) -> bytes:
        return self._data[self._at : self._at + self._limits.payload_bytes]

    def _too_long(self) -> Block:
        detail = f"the element is longer than {self._limits.max_record_bytes} bytes"
        return _damage("record_too_long", detail, self._begin(), self._base + self._at)

    def _have(self, size: int) -> Generator[None, None, None]:
        while len(self._data) - self._at < size and not self._ended:
            yield None

    def _find(self, end: bytes, start: int) -> Generator[None, None, int]:
        """Position after the next `end`; what is not an element has a length, too."""
        distance = start - self._at
        while (found := self._data.find(end, self._at + distance)) < 0:
            if self._ended:
                raise Fatal("truncated", f"the data ends before {end.decode()}", payload=self._begin())
            if len(self._data) - self._at > self._limits.max_record_bytes:
                raise Fatal("invalid_xml", f"no {end.decode()} within a record's length", payload=self._begin())
            distance = max(distance, len(self._data) - self._at - len(end) + 1)
            yield None
        return found + len(end)


class _Scan:
    """Looks for the end of one element, in as many parts as it comes in, by the tags of its name alone."""

    def __init__(self, name: bytes, wrapper: bytes) -> None:
        self.position = 0
        """How far, from the beginning of the element: its end, once that is found."""
        self.restart = 0
        """Where another element of the name begins within this one; 0 for nowhere."""
        self.broken = False
        """The element cannot be closed: the wrapper ends within it, or it holds too many of its name."""
        self._depth = 0
        self._until = b""
        self._tokens = _tokens(name, wrapper)
        self._reach = max(len(name), len(wrapper)) + _LONGEST_TOKEN
        self._close_wrapper = b"</" + wrapper if wrapper and wrapper != name else b"\0"

    def run(self, data: bytes, start: int) -> bool:
        """Goes on in `data`, in which the element begins at `start`; whether it has ended."""
        at = start + self.position
        while True:
            if self._until:
                found = data.find(self._until, at)
                if found < 0:
                    self.position = max(at, len(data) - len(self._until) + 1) - start
                    return False
                at, self._until = found + len(self._until), b""
            token = self._tokens.search(data, at)
            if token is None:
                self.position = max(at, len(data) - self._reach) - start
                return False
            text = token[0]
            self._until = _SKIPPED.get(text, b"")
            if self._until:
                at = token.end()
                continue
            if text == self._close_wrapper:
                self.position, self.broken = token.start() - start, True
                return True
            end = _TAG_END.match(data, token.end())
            if end is None:
                self.position = token.start() - start
                return False
            at = end.end()
            if self._depth > _MOST_WITHIN:
                self.position, self.broken = token.start() - start, True
                return True
            if self._tag(text, self_closing=data[at - 2 : at] == b"/>", position=token.start() - start):
                self.position = at - start
                return True

    def _tag(self, text: bytes, *, self_closing: bool, position: int) -> bool:
        """Counts a tag of the element's name; whether it was the last."""
        if text.startswith(b"</"):
            self._depth -= 1
        else:
            self.restart = self.restart or position
            self._depth += not self_closing
        return self._depth <= 0


@lru_cache(maxsize=64)
def _tokens(name: bytes, wrapper: bytes) -> re.Pattern[bytes]:
    names = rb"</?" + re.escape(name) + rb"(?=[\s/>])"
    closing = rb"|</" + re.escape(wrapper) + rb"(?=[\s>])" if wrapper else b""
    return re.compile(rb"<!--|<!\[CDATA\[|<\?|" + names + closing)


def _damage(reason: str, detail: str, payload: bytes, offset: int) -> Block:
    return Block([Damage(reason=reason, detail=detail, payload=payload, offset=offset)], offsets=[offset])
