"""Plain bytes to records. One table; the framing is configured, or found from the first bytes.

To add a framing: one row in `TABLE`, its function that recognises the beginning of such a stream (or None when only
configuration can tell), and its framer. A framer is pushed plain pieces in order and yields blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from ingestd.decode import avro, parquet
from ingestd.decode.block import Block
from ingestd.decode.cloudwatch import CloudWatchLogsFramer
from ingestd.decode.csv_rows import CsvFramer
from ingestd.decode.envelope import LISTS, WRAPPERS, Envelope
from ingestd.decode.json_array import JsonArrayFramer
from ingestd.decode.json_scan import COMMA, Found, probe
from ingestd.decode.json_values import JsonValuesFramer
from ingestd.decode.limits import Limits
from ingestd.decode.lines import LinesFramer
from ingestd.decode.text import BOM
from ingestd.decode.xml_records import XmlFramer, is_xml
from ingestd.model import Framing


class Framer(Protocol):
    """One document being cut into records.

    `feed` and `finish` must be read to their end; they raise `Fatal` when the rest of the document makes no sense.
    What comes out must not depend on how the bytes were cut into pieces.
    """

    @property
    def tail_open(self) -> bool:
        """After `finish`: the last record had no terminator, so it may go on when the object grows."""

    def feed(self, data: bytes) -> Iterator[Block]:
        """Blocks that the next bytes complete."""

    def finish(self) -> Iterator[Block]:
        """The rest: nothing more comes."""

    def abandon(self) -> tuple[int, bytes]:
        """Nothing more comes and what is held cannot be trusted: its offset, and its beginning to be looked at."""


class Row(NamedTuple):
    """A framing: `sniff` is asked, in the order of the table, whether a beginning (BOM and blanks stripped) is its
    kind; `text` says that a binary beginning damages the object."""

    name: str
    sniff: Callable[[bytes], bool] | None
    open: Callable[[Framing, Limits, int], Framer]
    text: bool = True


HEAD_BYTES: Final = 64 * 1024
"""As much of the beginning is looked at, or all when there is less."""

_ARRAY: Final = re.compile(rb"\[\s*+[{\]]")
_CLOUDWATCH: Final = re.compile(rb'"(?:DATA|CONTROL)_MESSAGE"')
_KEY: Final = re.compile(rb'\s*+"((?:[^"\\]++|\\.)*+)"\s*+:\s*+', re.DOTALL)


def _keys(head: bytes) -> Iterator[tuple[str, int]]:
    """The keys at the top of the first object, as far as it is in `head`, each with where its value begins."""
    at = 1
    while head.startswith(b"{") and (match := _KEY.match(head, at)):
        yield match[1].decode("utf-8", "replace"), match.end()
        found, end = probe(head, match.end())
        if found is not Found.MORE or head[end] != COMMA:
            return
        at = end + 1


def _is_cloudwatch(head: bytes) -> bool:
    if b'"messageType"' not in head:  # sooner known than the keys
        return False
    return any(key == "messageType" and _CLOUDWATCH.match(head, at) for key, at in _keys(head))


def _is_array(head: bytes) -> bool:
    if _ARRAY.match(head):
        return True
    arrays = set()
    for key, at in _keys(head):
        if _ARRAY.match(head, at):
            if key in WRAPPERS:  # there is no need to look past its value
                return True
            arrays.add(key)
    return not arrays.isdisjoint(LISTS) and probe(head, 0)[0] is not Found.MORE


def _is_values(head: bytes) -> bool:
    """An object that does not fit one line, or is followed by more on the same line."""
    if not head.startswith(b"{"):
        return False
    found, end = probe(head, 0)
    if found in (Found.CUT, Found.DEEP):
        return True
    first = head[:end].rstrip()
    if found is Found.WHOLE:
        return b"\n" in first
    return found is Found.MORE and (b"\n" in first or b"\n" not in head[len(first) : end])


def _is_avro(head: bytes) -> bool:
    return head.startswith(avro.MAGIC)


def _is_parquet(head: bytes) -> bool:
    return head.startswith(parquet.MAGIC)


def _open_csv(framing: Framing, limits: Limits, offset: int) -> Framer:
    return CsvFramer(limits, offset, str(framing.options.get("delimiter", ",")))


def _open_xml(framing: Framing, limits: Limits, offset: int) -> Framer:
    options = framing.options
    return XmlFramer(limits, offset, options.get("root_element"), tuple(options.get("arrays", ())))


def _open_array(framing: Framing, limits: Limits, offset: int) -> Framer:
    envelope = None if framing.envelope is None else Envelope.parse(framing.envelope)
    return JsonArrayFramer(limits, offset, envelope)


TABLE: Final = (
    Row("avro", _is_avro, lambda _, limits, offset: avro.AvroFramer(limits, offset), text=False),
    Row("parquet", _is_parquet, lambda _, limits, offset: parquet.ParquetFramer(limits, offset), text=False),
    Row("cloudwatch_logs", _is_cloudwatch, lambda _, limits, offset: CloudWatchLogsFramer(limits, offset)),
    Row("xml", is_xml, _open_xml),
    Row("json_array", _is_array, _open_array),
    Row("json", _is_values, lambda _, limits, offset: JsonValuesFramer(limits, offset)),
    Row("csv", None, _open_csv),
    Row("lines", lambda _: True, lambda _, limits, offset: LinesFramer(limits, offset)),
)
JSON_ARRAY: Final = next(row for row in TABLE if row.name == "json_array")
_OPTIONS: Final = {"csv": {"delimiter"}, "xml": {"root_element", "arrays"}}
_ELEMENT: Final = re.compile(r"[^\W\d][\w.-]{0,99}")
NAMES: Final = ("auto", *(row.name for row in TABLE))


def choose(framing: Framing, head: bytes) -> Row:
    """The row that `framing` names; for `auto` the first that recognises `head`: the first `HEAD_BYTES` of the
    plain stream, or all of it."""
    for row in TABLE:
        if row.name == framing.name:
            return row
    if framing.envelope is not None:
        return JSON_ARRAY
    beginning = head[:HEAD_BYTES].removeprefix(BOM).lstrip()
    return next(row for row in TABLE if row.sniff is not None and row.sniff(beginning))


def problem_with(framing: Framing) -> str | None:
    """What is wrong with a configured framing, for the reader of the configuration; None when nothing is."""
    if framing.name not in NAMES:
        return f"{framing.name!r} is no framing; there are {', '.join(NAMES)}"
    if framing.envelope is None and not framing.options:  # as nearly all are; each object asks
        return None
    if framing.envelope is not None:
        if framing.name not in ("auto", "json_array"):
            return f"an envelope belongs to json_array, not to {framing.name}"
        try:
            Envelope.parse(framing.envelope)
        except ValueError as error:
            return str(error)
    unknown = sorted(framing.options.keys() - _OPTIONS.get(framing.name, set()))
    if unknown:
        return f"the framing {framing.name} has no option {unknown[0]!r}"
    delimiter = framing.options.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        return f"the delimiter must be one character, not {delimiter!r}"
    arrays = framing.options.get("arrays", [])
    names = arrays if isinstance(arrays, (list, tuple)) else [arrays]
    for name in (framing.options.get("root_element", "Events"), *names):
        if not isinstance(name, str) or not _ELEMENT.fullmatch(name):
            return f"root_element and arrays take names of elements without a prefix, not {name!r}"
    return None
