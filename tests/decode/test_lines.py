"""Lines and CSV rows."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.decode import ObjectDecoder
from ingestd.model import Framing
from tests.decode.reading import LINES, SMALL, frame, read

CSV = Framing(name="csv")


def test_what_ends_a_line() -> None:
    """LF and CRLF only: not a lone CR, not what Unicode calls a line end."""
    data = "a\rb\r\nc\u2028d\x0be\x85\n  f \n".encode()
    assert read(data, LINES).all == [b"a\rb", "c\u2028d\x0be\x85".encode(), b"  f "]


def test_blank_lines_take_no_ordinal() -> None:
    """Also of white space only; the offsets of the others hold."""
    result = read(b"\n\r\n \t\na\n\n\nb\n \n", LINES)
    assert result.all == [b"a", b"b"]
    assert result.offsets == [6, 10]


@pytest.mark.parametrize(("data", "is_open"), [(b"a\nb", True), (b"a\nb\n", False), (b"", False), (b"a\n ", False)])
def test_an_open_end_is_told(data: bytes, is_open: bool) -> None:
    """The last record has no end: it may go on when the file grows. White space alone is no record."""
    assert read(data, LINES).decoder.tail_open is is_open
    assert read(data, CSV).decoder.tail_open is is_open


def test_a_long_line_is_told_when_it_is_seen() -> None:
    """Not at its end, which may be a gigabyte away; it is one damage however long."""
    decoder = ObjectDecoder(LINES, SMALL)
    blocks = [block for _ in range(40) for block in decoder.feed(b"x" * 16_384)]
    assert [block.offset_of(0) for block in blocks] == [0]
    blocks = [*decoder.feed(b"x\ngood\n"), *decoder.finish()]
    assert [record for block in blocks for record in block.records] == [b"good"]
    assert blocks[0].first == 1
    assert blocks[0].offset_of(0) == 40 * 16_384 + 2


def test_bad_bytes_damage_one_line_each() -> None:
    """A NUL, a byte that is not UTF-8, a cut character: told apart, each with its place."""
    data = b"good\nn\0l\n" + "é".encode()[:1] + b"\nlatin \xe9t\xe9\n" + "grün\n".encode()
    result = read(b"filler to look like text\n" * 10 + data, LINES)
    assert result.reasons == ["not_text", "invalid_utf8", "invalid_utf8"]
    assert [damage.offset for damage in result.damages] == [255, 259, 261]
    assert result.records[-1] == "grün".encode()


# --- CSV ----------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.text('ab",\n é', max_size=6), min_size=1, max_size=4), max_size=8), st.data())
def test_rows_are_those_of_the_csv_module(rows: list[list[str]], data: st.DataObject) -> None:
    """Each record, read alone, is the row that was written, in any pieces and with any line end."""
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    rows = [["first", *row] for row in rows]
    file = io.StringIO()
    csv.writer(file, lineterminator=end).writerows(rows)
    text = file.getvalue().encode()
    records: list[Any] = frame(text, CSV, data.draw(st.integers(1, len(text) + 1)))
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""))) for record in records] == rows


def test_a_quote_within_a_field_is_a_character() -> None:
    """It does not swallow the rows after it."""
    data = b'5" disk,a\nx,7" disk\n,"b""c\nd",e"f\nlast'
    assert read(data, CSV).all == [b'5" disk,a', b'x,7" disk', b',"b""c\nd",e"f', b"last"]


def test_other_delimiters() -> None:
    """A quote opens a field behind the delimiter that is configured, and only there."""
    data = b'a;"b\nc";d\n1,"2;3\n'
    assert read(data, Framing(name="csv", options={"delimiter": ";"})).all == [b'a;"b\nc";d', b'1,"2;3']


def test_a_quote_that_is_never_closed_damages_its_line() -> None:
    """At the end of the object, and within the limit of a record."""
    result = read(b'a,b\nc,"d\ne,f\ng,h\n', CSV)
    assert result.records == [b"a,b", b"e,f", b"g,h"]
    assert result.reasons == ["unclosed_quote"]
    assert result.offsets == [0, 4, 9, 13]
    rows = b"".join(b"%d,row\n" % number for number in range(20_000))
    result = read(b'a,b\nc,"d\n' + rows, CSV, SMALL)
    assert result.reasons == ["unclosed_quote"]
    assert len(result.records) == 20_001


def test_a_quote_within_a_field_and_one_that_opens_the_next() -> None:
    """Each is taken for what it is, also in one row."""
    assert read(b'5" disk,"two\nlines"\nlast\n', CSV).all == [b'5" disk,"two\nlines"', b"last"]


def test_an_open_row_is_not_looked_at_anew_for_each_line() -> None:
    """Pairs of quotes line after line leave the field open; the work stays linear in the bytes."""
    rows = b'a,"b\n' + b'""\n' * 300_000
    result = read(rows + b'"\nlast', CSV)
    assert result.all == [rows + b'"', b"last"]
