"""Where JSON values end: what is taken from msgspec's messages, and the scan that can be interrupted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.decode.json_scan import Found, Scan, probe

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
containers = st.lists(documents, max_size=4) | st.dictionaries(st.text(max_size=5), documents, max_size=4)


@pytest.mark.parametrize(
    ("data", "found", "position"),
    [
        (b'##{"a":1}', Found.WHOLE, 9),
        (b'##{"a":1} \n', Found.WHOLE, 11),
        (b'##{"a":1} {"b":2}', Found.MORE, 10),
        (b'##{"a":1},{"b":2}', Found.MORE, 9),
        (b'##"text" x', Found.MORE, 9),
        (b"##12 13", Found.MORE, 5),
        (b'##{"a":1', Found.CUT, 8),
        (b'##{"a":"x', Found.CUT, 9),
        (b"##tru", Found.CUT, 5),
        (b"##-", Found.CUT, 3),
        (b'##{"a":tru}', Found.BAD, 9),
        (b'##{"a":"b,"c":1}', Found.BAD, 11),
        (b"##" + b"[" * 100_000, Found.DEEP, 100_002),
    ],
)
def test_probe_tells_what_stands_there(data: bytes, found: Found, position: int) -> None:
    """The messages of msgspec that this rests on keep their form."""
    what, at = probe(data, 2)
    assert what is found
    assert at == position or (found is Found.BAD and abs(at - position) <= 1)


@given(containers, st.data(), st.booleans(), st.sampled_from([None, 2]))
def test_a_cut_value_is_never_called_wrong(
    value: object, data: st.DataObject, ascii: bool, indent: int | None
) -> None:
    """Every beginning of a container is known as a beginning."""
    text = json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass")
    end = data.draw(st.integers(1, len(text) - 1))
    assert probe(text[:end], 0)[0] is Found.CUT


@given(containers, st.data(), st.booleans())
def test_scan_finds_the_end_in_any_parts(value: object, data: st.DataObject, ascii: bool) -> None:
    """Interrupted anywhere, it stops right behind the closing bracket."""
    text = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    stream = text + b' ,{"more": "\\"]}"}'
    scan, start, complete = Scan(), 0, False
    held = b""
    while not complete:
        step = data.draw(st.integers(1, 7))
        held += stream[start : start + step]
        start += step
        complete, used = scan.run(held, 0)
        left = held[used:]
        assert complete or len(left) <= 1, "only half an escape may be left"
        held = left
    assert start - len(held) == len(text)


def test_scan_knows_the_depth() -> None:
    """The deepest nesting it has seen, brackets in strings apart."""
    scan = Scan()
    assert scan.run(b'{"a":[[{"b":"[[[["}]]}', 0) == (True, 22)
    assert scan.deepest == 4
