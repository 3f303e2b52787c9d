"""What `auto` makes of the beginning of an object, and what a configuration may ask for."""

from __future__ import annotations

import json

import pytest

from ingestd.decode import problem_with
from ingestd.decode.framing import HEAD_BYTES, choose
from ingestd.model import Framing
from tests.decode.reading import AUTO, read

LONG = b'{"a":"' + b"x" * (2 * HEAD_BYTES) + b'"'


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "lines"),
        (b"plain text\nmore", "lines"),
        (b"[2023-07-10 11:42:36] [error] an Apache log\n", "lines"),
        (b"{not json}\n", "lines"),
        (b'<Event xmlns="x">\n', "lines"),
        (b'"a","b"\n1,2\n', "lines"),
        (b'{"a":1}\n{"a":2}\n', "lines"),
        (b'{"a":1}\r\n\r\n{"a":2}', "lines"),
        (b'{"a":1}', "lines"),
        (b'{"a":1}\nthen text\n', "lines"),
        (b'{"a":1}{"a":2}', "json"),
        (b'{"a":1} {"a":2}\n', "json"),
        (b'{\n "a": 1\n}\n{\n "a": 2\n}', "json"),
        (b'{\n "a": 1\n}', "json"),
        (LONG, "json"),
        (b'{"a":' + b"[" * HEAD_BYTES, "json"),
        (b'[{"a":1}', "json_array"),
        (b"[ ]", "json_array"),
        (b'[\n  {\n "a"', "json_array"),
        (b'{"Records":[{"a":1}]}', "json_array"),
        (b'{"Records": []}', "json_array"),
        (b'{"x":{"y":[1]},"Records":[{"a":1', "json_array"),
        (b'{"Records":[{"a":1}]}\n{"Records":[{"a":1}]}\n', "json_array"),
        (b'{"x":{"Records":[{"a":1}]}}', "lines"),
        (b'{"Records":"none"}', "lines"),
        (b'{"kind":"list","items":[{"a":1}]}', "json_array"),
        (b'{"kind":"event","items":[{"a":1}]}\n{"kind":"event","items":[{"a":1}]}\n', "lines"),
        (b'{"messageType":"DATA_MESSAGE","logEvents":[{"message":"x"}]}', "cloudwatch_logs"),
        (b'{"owner":"x", "messageType": "CONTROL_MESSAGE"', "cloudwatch_logs"),
        (b'{"x":{"messageType":"DATA_MESSAGE"}}', "lines"),
    ],
)
def test_the_beginning_tells_the_framing(head: bytes, name: str) -> None:
    """With a BOM and blank space before it as without."""
    assert choose(AUTO, head).name == name
    assert choose(AUTO, b"\xef\xbb\xbf\r\n " + head).name == name


def test_more_than_the_head_is_not_looked_at() -> None:
    """What comes later decides nothing, so that the choice needs no more than a bounded beginning."""
    lines = b'{"a":1}\n' * HEAD_BYTES
    assert read(lines + b'{\n"Records":[{}]}').decoder.framing == "lines"


@pytest.mark.parametrize(
    ("framing", "says"),
    [
        (Framing(), None),
        (Framing(name="json_array", envelope="Records"), None),
        (Framing(name="csv", options={"delimiter": "\t"}), None),
        (Framing(name="jsonl"), "there are auto, avro, parquet"),
        (Framing(name="lines", envelope="Records"), "belongs to json_array"),
        (Framing(name="csv", options={"delimiter": ",,"}), "one character"),
        (Framing(name="csv", options={"quote": "'"}), "no option 'quote'"),
        (Framing(name="json", options={"delimiter": ","}), "no option 'delimiter'"),
        (Framing(name="xml", options={"root_element": "Events", "arrays": ["Data"]}), None),
        (Framing(name="xml", options={"root_element": "<Events>"}), "names of elements"),
        (Framing(name="xml", options={"arrays": [1]}), "names of elements"),
    ],
)
def test_a_wrong_framing_is_told_in_words(framing: Framing, says: str | None) -> None:
    """Before any object is read."""
    problem = problem_with(framing)
    if says is None:
        assert problem is None
        assert read(b"", framing).all == []
    else:
        assert says in (problem or "")
        with pytest.raises(ValueError, match=says):
            read(b"", framing)


def test_real_shapes_come_apart() -> None:
    """Shapes in which services write their logs, as `auto` reads them."""
    event = {"time": "2023-07-10T11:42:36Z", "n": 1}
    shapes = {
        "CloudTrail": ({"Records": [event, event]}, None),
        "AWS Config": ({"fileVersion": "1.0", "configSnapshotId": "x", "configurationItems": [event, event]}, None),
        "Event Hub": ({"records": [event, event]}, None),
        "Graph": ({"@odata.context": "x", "value": [event, event]}, 2),
        "array": ([event, event], 1),
    }
    for document, indent in shapes.values():
        assert [json.loads(record) for record in read(json.dumps(document, indent=indent).encode()).records] == [
            event
        ] * 2
