"""What every row of the framing table must do whose records are pieces of text. Containers of typed rows have a suite
of their own, `test_containers.py`."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import NamedTuple

import pytest

from ingestd.decode import Damage, Limits, ObjectDecoder
from ingestd.decode.framing import TABLE
from ingestd.model import Framing
from tests.conformance.test_containers import CONTAINERS
from tests.decode.reading import SMALL, frame, read


class Sample(NamedTuple):
    """Bytes of one framing, what they must become, and a record to put between others."""

    framing: Framing
    data: bytes
    records: list[bytes]
    open_end: bool
    """Cut short, the last record may come in part: nothing says that it is one."""
    wrap: tuple[bytes, bytes, bytes]
    """Beginning, separator and end around records."""


EVENTS = [
    {"eventVersion": "1.08", "name": "a},{b", "list": [{"x": 1}, {"x": 2}], "none": None},
    {"eventVersion": "1.08", "name": 'quo"te\\', "empty": {}},
    {"eventVersion": "1.08", "name": "é ] [ } {", "number": -1.5e3},
]
COMPACT = [json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() for event in EVENTS]
MESSAGES = ["first message", 'second, "quoted"\nwith a line end', "dritte Zeile: é"]


def _envelope(messages: list[str]) -> dict[str, object]:
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "group",
        "logStream": "stream",
        "subscriptionFilters": ["filter"],
        "logEvents": [{"id": str(i), "timestamp": i, "message": text} for i, text in enumerate(messages)],
    }


_CLOUDWATCH = [json.dumps(_envelope([message])).encode() for message in MESSAGES]
_CONTROL = json.dumps({**_envelope(["CWL CONTROL MESSAGE"]), "messageType": "CONTROL_MESSAGE"}).encode()
_ROWS = [b'a,"b ""quoted"", more",c', b'"two\r\nlines, one row",1,2', b'5" disk,x"y,3', b"last,,"]

SAMPLES = {
    "lines": Sample(
        Framing(name="lines"), b"one\r\n\n  \ntwo \n{}\nno end", [b"one", b"two ", b"{}", b"no end"], True,
        (b"", b"\n", b"\n"),
    ),
    "json": Sample(
        Framing(name="json"),
        json.dumps(EVENTS[1], indent=2).encode() + b" \n\n" + COMPACT[0] + b"\n" + COMPACT[2] + COMPACT[0] + b"\n",
        [json.dumps(EVENTS[1], indent=2).encode(), COMPACT[0], COMPACT[2], COMPACT[0]], False,
        (b'{\n "a": 1}', b"\n", b"\n"),
    ),
    "json_array": Sample(
        Framing(name="json_array"),
        b'{"before": {"Records": [{"not": "this"}]}, "Records": [' + b" , \n".join(COMPACT) + b'], "after": "]}"}',
        COMPACT, False, (b'{"Records":[', b",", b"]}"),
    ),
    "cloudwatch_logs": Sample(
        Framing(name="cloudwatch_logs"), _CONTROL + b"".join(_CLOUDWATCH),
        [text.encode() for text in MESSAGES], False, (_CONTROL, b"", b""),
    ),
    "csv": Sample(Framing(name="csv"), b"\n".join(_ROWS) + b"\n\n", _ROWS, True, (b"", b"\n", b"\n")),
    "xml": Sample(
        Framing(name="xml"),
        b'<?xml version="1.0"?>\n<!-- <Event> --><Events xmlns="urn:events">'
        b'<Event id="a > b"><name>&lt;&amp;</name></Event>\n<Event><![CDATA[</Event>]]></Event><Event/>'
        b"<!-- </Events> --> <Event><Event>within</Event>\xc3\xa9</Event></Events>\n",
        [
            b'{"id":"a > b","name":"<&"}', b'{"value":"</Event>"}', b'{"value":""}',
            b'{"Event":"within","value":"\xc3\xa9"}',
        ],
        False, (b"<Events>", b"\n", b"</Events>"),
    ),
}  # fmt: skip
GOOD = {
    "lines": [b"good %d" % number for number in range(3)],
    "json": [b'{"good":%d}' % number for number in range(3)],
    "json_array": [b'{"good":%d}' % number for number in range(3)],
    "cloudwatch_logs": [json.dumps(_envelope([f"good {number}"])).encode() for number in range(3)],
    "csv": [b'good,"%d"' % number for number in range(3)],
    "xml": [b"<Event><good>%d</good></Event>" % number for number in range(3)],
}
_AT_OFFSET = {"cloudwatch_logs": b'{"messageType"', "xml": b"<Event"}
"""What lies at the offset of a record that is not there as it is."""
every = pytest.mark.parametrize("name", list(SAMPLES))


def joined(name: str, records: list[bytes]) -> bytes:
    """A document of these records."""
    begin, separator, end = SAMPLES[name].wrap
    return begin + separator.join(records) + end


def long_record(name: str, size: int) -> bytes:
    """A good record of about `size` bytes."""
    if name == "cloudwatch_logs":
        return json.dumps(_envelope(["x" * size])).encode()
    if name == "xml":
        return b"<Event>" + b"x" * size + b"</Event>"
    return b'{"long":"' + b"x" * size + b'"}' if name.startswith("json") else b"x" * size


def test_every_row_of_the_table_is_tried_here() -> None:
    """A new framing gets this suite by an entry in `SAMPLES`, or that of containers by one in its table."""
    assert {row.name for row in TABLE} - CONTAINERS.keys() == set(SAMPLES) == set(GOOD)


@every
def test_the_records_come_out(name: str) -> None:
    """Of a document with everything in it that may mislead."""
    sample = SAMPLES[name]
    result = read(sample.data, sample.framing)
    assert result.all == sample.records
    assert result.decoder.framing == name
    assert result.decoder.failure is None


@every
def test_the_way_the_bytes_are_cut_changes_nothing(name: str) -> None:
    """Pieces of every size, down to single bytes, give the same records."""
    sample = SAMPLES[name]
    for size in range(1, len(sample.data) + 1):
        assert frame(sample.data, sample.framing, size) == sample.records


@every
def test_a_document_cut_anywhere_gives_a_prefix_of_its_records(name: str) -> None:
    """And one damage where the cut can be seen."""
    sample = SAMPLES[name]
    for end in range(len(sample.data)):
        result = read(sample.data[:end], sample.framing)
        whole = result.all[: result.all.index(result.damages[0])] if result.damages else result.all
        if sample.open_end and whole and whole != sample.records[: len(whole)]:
            last = whole.pop()
            assert isinstance(last, bytes)
            assert sample.records[len(whole)].startswith(last)
        assert whole == sample.records[: len(whole)]
        assert len(result.damages) <= 1
        assert (result.decoder.failure is not None) == bool(result.damages) or sample.open_end


@every
def test_offsets_lead_to_the_records(name: str) -> None:
    """`offset_of` is where the record, or its envelope, lies in the plain stream."""
    sample = SAMPLES[name]
    result = read(b"\xef\xbb\xbf" + sample.data, sample.framing)
    for record, offset in zip(result.records, result.offsets, strict=True):
        found = (b"\xef\xbb\xbf" + sample.data)[offset:]
        assert found.startswith(_AT_OFFSET.get(name, record))


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.sniff is not None and row.text])
def test_auto_chooses_it_and_counts_alike(name: str) -> None:
    """What `auto` finds is what the name gives, so that a re-read by name has the same ordinals."""
    sample = SAMPLES[name]
    found = read(sample.data)
    assert found.decoder.framing == name
    assert found.comparable == read(sample.data, Framing(name=found.decoder.framing)).comparable


@every
def test_a_record_past_the_limit_is_left_out_and_its_neighbours_come(name: str) -> None:
    """It takes its ordinal, with its offset and beginning."""
    good = GOOD[name]
    for size in (70_000, 400_000):
        long = long_record(name, size)
        result = read(joined(name, [good[0], long, *good[1:]]), SAMPLES[name].framing, SMALL)
        (damage,) = result.damages
        assert damage.reason == "record_too_long"
        assert damage.payload == long[:16]
        assert damage.offset == joined(name, [good[0], long]).index(long)
        assert len(result.records) == len(read(joined(name, good), SAMPLES[name].framing).records)
        assert result.all.index(damage) == len(result.records) - 2


@every
def test_bytes_that_are_not_utf8_damage_their_record_only(name: str) -> None:
    """The neighbours come."""
    bad = GOOD[name][1].replace(b"good", b"\xff\xfeod")
    result = read(joined(name, [*GOOD[name][:1], bad, *GOOD[name][2:]]), SAMPLES[name].framing)
    assert len(result.records) == len(read(joined(name, GOOD[name]), SAMPLES[name].framing).records) - 1
    assert len(result.damages) == 1
    if name != "cloudwatch_logs":
        assert result.reasons == ["invalid_utf8"]


@every
def test_noise_never_raises(name: str) -> None:
    """Neither random bytes nor samples with random changes."""
    rand = random.Random(7)
    sample = SAMPLES[name]
    for _ in range(300):
        data = bytearray(sample.data * 2)
        for _ in range(rand.randrange(1, 6)):
            data[rand.randrange(len(data))] = rand.choice(b'{}[]",:\\\n\0\xffa1')
        read(bytes(data), sample.framing)
        read(rand.randbytes(rand.randrange(300)), sample.framing)
    text = bytes(rand.choice(b'{}[]",:\\\n a1') for _ in range(100_000))
    read(text, sample.framing)


@every
def test_a_long_document_takes_bounded_memory(name: str) -> None:
    """However many records it has."""
    begin, separator, end = SAMPLES[name].wrap
    part = separator.join(GOOD[name] * 700) + separator
    decoder = ObjectDecoder(SAMPLES[name].framing)
    count = sum(len(block.records) for block in decoder.feed(begin))
    tracemalloc.start()
    try:
        for _ in range(10):
            for block in decoder.feed(part):
                count += len(block.records)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    count += sum(len(block.records) for block in decoder.feed(GOOD[name][0] + end))
    count += sum(len(block.records) for block in decoder.finish())
    assert count == 21_001 + (name == "json")
    assert decoder.failure is None
    assert peak < 2 * 1024 * 1024


@every
def test_no_record_is_no_damage(name: str) -> None:
    """Empty objects, blank ones, and a BOM alone."""
    for data in (b"", b"\n", b" \r\n\n  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
        result = read(data, SAMPLES[name].framing)
        assert result.all == []
        assert result.decoder.failure is None


@every
def test_a_binary_object_is_one_damage(name: str) -> None:
    """An image or a program under a log's name is not taken apart."""
    data = b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(300_000)
    result = read(data, SAMPLES[name].framing)
    assert result.reasons == ["not_text"]
    assert isinstance(result.all[0], Damage)
    assert result.decoder.failure == "not_text"


@every
def test_damage_is_the_same_each_time(name: str) -> None:
    """A damaged object gives the same ordinals however its bytes arrive."""
    rand = random.Random(5)
    data = bytearray(joined(name, GOOD[name] * 5000))
    for _ in range(20):
        data[rand.randrange(100, len(data))] = rand.choice(b'{}[]",:\\\n\xff')
    whole = read(bytes(data), SAMPLES[name].framing, Limits())
    assert read(bytes(data), SAMPLES[name].framing, size=777).comparable == whole.comparable
