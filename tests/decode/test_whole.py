"""Documents that are there whole are cut in one step, and nothing else is different about them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.decode import Limits, ObjectDecoder, decoder
from ingestd.decode.whole import whole_array
from ingestd.model import Framing
from tests.decode.reading import Result, pieces, read

FRAMINGS = [
    Framing(),
    Framing(name="json_array"),
    Framing(name="json"),
    Framing(name="lines"),
    Framing(envelope="Records"),
    Framing(name="json_array", envelope=""),
    Framing(name="json_array", envelope="a.b"),
    Framing(name="json_array", envelope="a"),
    Framing(envelope="Records[].message"),
]
KEYS = ["Records", "records", "value", "logEvents", "a", "a.b", "messageType", "é", "Rec\\u006frds", ""]
_WORDS = ['"Records"', '"a"', "1.5", "-", "null", "NaN", "{}", '{"a":1}', '"é"', '"},{"']
_TOKENS = [token.encode() for token in [*'{}[]",: \n\\0\x7f\v', *_WORDS]]
TOKENS = [*_TOKENS, b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"[*M\x18"]

_texts = st.sampled_from(["", "x", "},{", "]}", '"', "\\", "é", "\0", "\x7f" * 40]) | st.text(max_size=4)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_elements = st.lists(st.dictionaries(_texts, _values, max_size=3), max_size=4) | st.lists(_values, max_size=3)
_layouts: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"separators": (",", ":")}, {"indent": 1}, {"separators": (" , ", " : "), "ensure_ascii": False}]
)
_limits = st.builds(Limits, max_record_bytes=st.sampled_from([8, 64, 1 << 20]), payload_bytes=st.just(16))


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    """Arrays at the top or at keys, some of them repeated, some behind one another."""
    array = json.dumps(draw(_elements), **draw(_layouts))
    fields = [f'"{key}"{draw(st.sampled_from([":", " : "]))}{array}' for key in draw(_keys)]
    text = "{" + ", ".join(fields) + "}" if fields else array
    around = st.sampled_from(["", "", "", " ", "\r\n", "\v", "\ufeff", "}", "]", ",", text])
    return (draw(around) + text + draw(around)).encode("utf-8", "surrogatepass")


_keys = st.lists(st.sampled_from(["Records"] * 5 + KEYS), max_size=3) | st.just(["Records"])


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """The same, with something else in some places."""
    data = draw(_documents())
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 3))
        data = data[:start] + draw(st.sampled_from([b"", *TOKENS])) + data[end:]
    return data


_soup = st.lists(st.sampled_from(TOKENS), max_size=30).map(b"".join)
_opened = st.sampled_from([b'{"Records":[{', b"[{", b'{"a": [{'])
_closed = st.sampled_from([b"}]}", b"}]"])
_soup_in_an_array = st.tuples(_opened, _soup, _closed).map(b"".join)
_any = _documents() | _damaged() | _soup | _soup_in_an_array


def everything(data: bytes, framing: Framing, limits: Limits | None, size: int) -> tuple[object, ...]:
    """All that can be told of a read."""
    result: Result = read(data, framing, limits, size=size)
    return (*result.comparable, result.decoder.tail_open, result.decoder.compression)


def through_the_framers(data: bytes, framing: Framing, limits: Limits | None) -> tuple[object, ...]:
    """The same, when no document is taken whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "whole_array", lambda *_: None)
        return everything(data, framing, limits, 0)


@given(_any, st.sampled_from(FRAMINGS), _limits, st.booleans(), st.integers(0, 20))
@settings(max_examples=400)
def test_nobody_can_tell_which_way_a_document_went(
    data: bytes, framing: Framing, limits: Limits, packed: bool, size: int
) -> None:
    """Records, ordinals, offsets, damages, framing and all else are the same, whatever the bytes are."""
    stored = gzip.compress(data) if packed else data
    assert everything(stored, framing, limits, size) == through_the_framers(stored, framing, limits)


@pytest.mark.parametrize("depth", [3, 50, 200, 300, 900, 960, 990, 1100, 5000])
@pytest.mark.parametrize("kind", ['{"a":', "["])
def test_nor_of_one_that_nests(kind: str, depth: int) -> None:
    """How deep is too deep does not depend on the way."""
    inner = kind * depth + "1" + ("}" if kind == '{"a":' else "]") * depth
    data = f'{{"Records": [{{"b": {inner}}}, {{}}]}}'.encode()
    assert everything(data, Framing(), None, 0) == through_the_framers(data, Framing(), None)


@pytest.mark.parametrize(
    ("data", "framing"),
    [
        (b'{"Records": [{"a": 1}, {"b": "\xc3\xa9"}]}', Framing()),
        (b'{"Records":[{"a":[1,2]}]}\n', Framing(name="json_array")),
        (b'{ "records" :\r\n[ {} , 1.5, "x" ] }  ', Framing()),
        (b'[{"a": 1}]', Framing()),
        (b'[{"a": 1}]', Framing(envelope="[]")),
        (b'{"mine": [{"a": 1}]}', Framing(envelope="mine")),
        (b'{"Records": [{"bad": "\xff"}, {"a": 1}]}', Framing()),
    ],
)
def test_one_array_of_objects_is_cut_in_one_step(data: bytes, framing: Framing) -> None:
    """It is what most small objects are, so it must not go the long way unnoticed."""
    block = whole_array(data, framing, Limits())
    assert block is not None
    taken: Any = read(data, framing).blocks
    assert [each.records for each in taken] == [block.records]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"Records": []}',
        b'{"Records": [1]}',
        b'{"Records": [{}], "more": 1}',
        b'{"Records": [{}]} {"Records": [{}]}',
        b'{"Records": [{}]',
        b'{"Records": [{}]]}',
        b'{"Records": [{},]}',
        b'{"Records": [NaN]}',
        b'{"Rec\\u006frds": [{}]}',
        b'{"logEvents": [{}]}',
        b'{"unknown": [{}]}',
        b'\xef\xbb\xbf{"Records": [{}]}',
        b'{"Records": [{"a": "' + b"\x7f" * 90 + b'\xc3\xa9"}]}',
        b"[" * 300 + b"{}" + b"]" * 300,
    ],
)
def test_all_else_is_left_to_the_framers(data: bytes) -> None:
    """What is unusual in any way has one way only."""
    assert whole_array(data, Framing(), Limits()) is None


def test_what_an_object_grew_by_is_no_whole_document() -> None:
    """It may end an array that was begun before, and its offsets count from the beginning of the object."""
    grown = ObjectDecoder(Framing(name="json_array"), first_ordinal=3, offset=100)
    data = b'[{"a": 1}]'
    blocks = [block for piece in pieces(data, 4) for block in grown.feed(piece)] + list(grown.finish())
    assert [(block.first, block.records, block.offset_of(0)) for block in blocks] == [(3, [b'{"a": 1}'], 101)]
