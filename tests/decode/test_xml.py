"""XML: which element is a record, what becomes of it, and what hostile documents cost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ingestd.decode import Limits
from ingestd.decode.framing import choose
from ingestd.model import Framing
from tests.decode.reading import read

XML = Framing(name="xml")
NEIGHBOUR = b"<Event>good</Event>"


def values(data: bytes, **options: Any) -> list[Any]:
    """The records as what they say."""
    return [json.loads(record) for record in read(data, Framing(name="xml", options=options)).records]


def test_every_beginning_of_a_document_is_recognised() -> None:
    """A declaration, a document type, a comment, or at once the first element."""
    for begin in (b'<?xml version="1.0"?>', b"<!DOCTYPE Events>", b"<!-- made by hand -->", b"", b"\xef\xbb\xbf\n"):
        assert choose(Framing(), begin + b"<Events><Event/></Events>").name == "xml"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<Events><Event>1</Event><Event>2</Event></Events>", ["1", "2"]),
        (b"<rows><row>1</row></rows>", ["1"]),
        (b"<Event>1</Event>\n<Event>2</Event>\n", ["1", "2"]),
        (b"<q:Events xmlns:q='u'><q:Event>1</q:Event></q:Events>", ["1"]),
        (b"<Events><Event>1</Event></Events><Events><Event>2</Event></Events>", ["1", "2"]),
        (b"<Events></Events>", []),
    ],
)
def test_records_are_the_children_of_what_encloses_them(data: bytes, expected: list[str]) -> None:
    """An element whose name is a plural encloses; others are records themselves."""
    assert [value["value"] for value in values(data)] == expected


def test_the_enclosing_element_can_be_named() -> None:
    """`root_element`, where the name says nothing."""
    data = b"<audit><entry><a>1</a></entry><entry><a>2</a></entry></audit>"
    assert values(data) == [{"entry": [{"a": "1"}, {"a": "2"}]}]
    assert values(data, root_element="audit") == [{"a": "1"}, {"a": "2"}]


def test_attributes_children_and_text_become_fields() -> None:
    """What repeats is an array; an element of text alone is that text; namespaces go."""
    data = (
        b'<Event xmlns="urn:x" level="4"><System><EventID Q="0">4624</EventID></System>'
        b'<Data Name="user">root</Data><Data Name="ip">10.0.0.1</Data><empty/>note</Event>'
    )
    assert values(data) == [
        {
            "level": "4",
            "System": {"EventID": {"Q": "0", "value": "4624"}},
            "Data": [{"Name": "user", "value": "root"}, {"Name": "ip", "value": "10.0.0.1"}],
            "empty": "",
            "value": "note",
        }
    ]


def test_one_of_what_may_repeat_is_an_array_where_that_is_said() -> None:
    """`arrays`: else a schema could not know whether to expect an object or an array."""
    assert values(b"<Event><Data>x</Data></Event>", arrays=["Data"]) == [{"Data": ["x"]}]


def test_the_encoding_that_is_declared_counts() -> None:
    """Old exports are Latin-1."""
    data = '<?xml version="1.0" encoding="ISO-8859-1"?><Events><Event>é</Event></Events>'.encode("latin-1")
    assert values(data) == [{"value": "é"}]


def test_entities_are_never_declared() -> None:
    """Billion laughs: the object is a reject before anything is expanded."""
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(9))
    result = read(b'<!DOCTYPE l [<!ENTITY l0 "lol">' + laughs + b"]><Events><Event>&l9;</Event></Events>", XML)
    assert (result.records, result.reasons) == ([], ["xml_entities"])


def test_nothing_is_fetched() -> None:
    """A document type elsewhere is passed over; a reference into it costs its record."""
    data = b'<!DOCTYPE Events SYSTEM "file:///etc/passwd"><Events><Event>&xxe;</Event>' + NEIGHBOUR + b"</Events>"
    result = read(data, XML)
    assert (result.records, result.reasons) == ([b'{"value":"good"}'], ["invalid_xml"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"<Event><a></Event>", "invalid_xml"),
        (b"<Event><a b=c></a></Event>", "invalid_xml"),
        (b'<Event><!DOCTYPE x [<!ENTITY y "z">]>&y;</Event>', "invalid_xml"),
        (b"<Event>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</Event>", "nesting_too_deep"),
        (b"<Event>" + b"<a/>" * 300_000 + b"</Event>", "too_many_values"),
        (b"<Event>" * 5000, "invalid_xml"),
    ],
)
def test_a_bad_element_costs_itself(bad: bytes, reason: str) -> None:
    """Broken tags, depth and number: the neighbours come."""
    result = read(b"<Events>" + NEIGHBOUR + bad + NEIGHBOUR + b"</Events>", XML)
    assert set(result.reasons) == {reason}
    assert result.records == [b'{"value":"good"}'] * 2


def test_an_element_that_is_not_closed_ends_where_the_next_begins() -> None:
    """Its neighbour is not swallowed."""
    result = read(b"<Events><Event>bad" + NEIGHBOUR + b"</Events>", XML)
    assert (result.reasons, result.records) == (["invalid_xml"], [b'{"value":"good"}'])


def test_elements_that_never_close_cost_seconds_at_most() -> None:
    """However many of them there are."""
    started = time.process_time()
    result = read(b"<E>" * 1_000_000, XML, Limits(max_record_bytes=1 << 20))
    assert result.decoder.failure == "too_much_damage"
    assert time.process_time() - started < 20


@pytest.mark.parametrize("line", [b"<34>1 2024-05-01 host su - - hello\n", b"<user> logged in\n", b"<not closed\n"])
def test_lines_that_begin_with_a_bracket_are_lines(line: bytes) -> None:
    """Syslog, and texts that only look like tags."""
    assert choose(Framing(), line * 3).name == "lines"
