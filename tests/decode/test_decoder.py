"""The whole way of an object, and what is hostile in it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from backports import zstd

from ingestd.decode import Limits, ObjectDecoder
from ingestd.model import Framing
from tests.decode.reading import AUTO, LINES, SMALL, read

MIB = 1024 * 1024


def test_a_cloudtrail_object() -> None:
    """The ordinary case: gzip, an envelope, records as they were written."""
    events = [{"eventVersion": "1.08", "eventID": str(number), "n": "é" * (number % 100)} for number in range(3000)]
    result = read(gzip.compress(json.dumps({"Records": events}).encode()), size=65536)
    assert [json.loads(record) for record in result.records] == events
    decoder = result.decoder
    assert (decoder.compression, decoder.framing, decoder.failure) == ("gzip", "json_array", None)
    assert decoder.records == 3000


def test_a_grown_object_goes_on_where_it_was() -> None:
    """Ordinals and offsets count from the beginning of the object; compression is not looked for in its middle."""
    first = read(b"one\ntwo\n", LINES).decoder
    decoder = ObjectDecoder(LINES, first_ordinal=first.records, offset=first.plain_bytes)
    blocks = [*decoder.feed(b"\x1f\x8b\x08 in a line\nfour" + b" " * 200), *decoder.finish()]
    assert [(block.first, block.offset_of(0), len(block.records)) for block in blocks] == [(2, 8, 1), (3, 22, 1)]
    assert decoder.records == 4
    assert decoder.plain_bytes == 8 + 14 + 204
    assert decoder.tail_open


def test_after_a_failure_bytes_are_ignored() -> None:
    """At no cost: the reader may stop, but need not."""
    decoder = ObjectDecoder(LINES)
    data = gzip.compress(random.Random(1).randbytes(60_000).hex().encode())
    list(decoder.feed(data[:20_000] + random.Random(2).randbytes(40_000)))
    assert decoder.failure == "corrupt_gzip"
    assert list(decoder.feed(data)) == []
    assert list(decoder.finish()) == []
    assert decoder.records == 1


def test_damage_in_the_middle_keeps_what_was_before() -> None:
    """Up to the fault, which the inflater may notice a little later."""
    lines = [random.Random(n).randbytes(30).hex().encode() for n in range(20_000)]
    data = bytearray(gzip.compress(b"\n".join(lines)))
    half = len(data) // 2
    data[half : half + 8] = b"\xff" * 8
    result = read(bytes(data), LINES)
    assert result.records[:9_000] == lines[:9_000]
    assert result.decoder.failure == "corrupt_gzip"
    assert 9_000 * 61 < (result.damages[0].offset or 0) <= result.decoder.plain_bytes


def test_damage_in_a_small_object_keeps_what_was_before() -> None:
    """Also where the whole object is one slice."""
    lines = [random.Random(n).randbytes(30).hex().encode() for n in range(100)]
    data = bytearray(gzip.compress(b"\n".join(lines)))
    data[-8:-4] = b"\0\0\0\0"  # the checksum
    result = read(bytes(data), LINES)
    assert len(result.records) > 90
    assert result.records == lines[: len(result.records)]
    assert result.reasons == ["corrupt_gzip"]


def _endless(line: bytes) -> Iterator[bytes]:
    while True:
        yield line


@pytest.mark.parametrize(
    ("begin", "filler"),
    [
        (b"", b"x" * 40_000),
        (b'{"a":"', b"x" * 40_000),
        (b'[{"a":"', b"\\u0000" * 10_000),
        (b'[{"a":', b'[{"b":"c"},' * 3_000),
        (b'{"Records":[1,', b"1" * 40_000),
        (b'{"a":', b"[" * 8_000),
        (b'a,"', b'""' * 30_000),
        (b'{"messageType":"DATA_MESSAGE","logEvents":[', b'{"message":"x"},' * 2_000),
    ],
)
def test_a_record_without_end_takes_bounded_memory(begin: bytes, filler: bytes) -> None:
    """A gigabyte without a line end or a closing bracket is one damage; nothing is held of it but its beginning."""
    decoder = ObjectDecoder(Framing(name="csv") if begin.startswith(b"a,") else AUTO, SMALL)
    list(decoder.feed(begin))
    tracemalloc.start()
    try:
        for _, data in zip(range(24), _endless(filler), strict=False):
            for block in decoder.feed(data):
                assert len(block.records) == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoder.records == 1
    assert peak < 2 * MIB


def test_after_a_long_line_the_next_ones_come() -> None:
    """The neighbours of a hostile record are not touched."""
    result = read(b"before\n" + b"x" * 3 * MIB + b"\nafter\n", LINES, Limits(max_record_bytes=MIB))
    assert result.records == [b"before", b"after"]
    assert result.reasons == ["record_too_long"]
    assert result.damages[0].offset == 7
    assert len(result.damages[0].payload) == Limits().payload_bytes


def test_a_bomb_of_text_is_told_as_a_bomb() -> None:
    """Before it is told as a long record; and it is one damage."""
    result = read(gzip.compress(b"a" * 32 * MIB), AUTO)
    assert result.reasons == ["expansion_limit"]
    assert "to one" in result.damages[0].detail


def test_dense_logs_are_no_bombs() -> None:
    """Lines that repeat to the byte, 300 to one."""
    line = b"2023-07-10T11:42:36Z host app[123]: INFO heartbeat ok status=200 latency=12ms\n"
    result = read(gzip.compress(line * 250_000), LINES)
    assert len(result.records) == 250_000
    assert result.decoder.failure is None


def test_the_plain_size_of_a_compressed_object_is_bounded() -> None:
    """Of one that is not compressed it is what it is."""
    data = (random.Random(1).randbytes(500).hex().encode() + b"\n") * 4000
    limits = Limits(max_plain_bytes=MIB, max_ratio=10_000)
    assert read(gzip.compress(data), LINES, limits).reasons == ["expansion_limit"]
    assert read(data, LINES, limits).reasons == []


@pytest.mark.parametrize(
    "data", [b"\xff\xfe" + "läuft\n".encode("utf-16-le") * 50, "läuft\n".encode("utf-16-be") * 50]
)
def test_utf16_is_one_damage(data: bytes) -> None:
    """Not one for each line that looks broken."""
    result = read(data)
    assert result.reasons == ["not_text"]
    assert ("UTF-16" in result.damages[0].detail) == data.startswith(b"\xff\xfe")


def test_old_encodings_damage_their_lines() -> None:
    """A text that is mostly ASCII is not given up for its accents."""
    data = b"a plain line of text\n" * 20 + "über\n".encode("latin-1") + b"another plain line\n" * 20
    result = read(data)
    assert result.reasons == ["invalid_utf8"]
    assert len(result.records) == 40


def test_a_bom_is_no_part_of_a_record() -> None:
    """Nor of the first header of a table; offsets count it."""
    result = read(b"\xef\xbb\xbffirst\nsecond\n")
    assert result.all == [b"first", b"second"]
    assert result.offsets == [3, 9]


def test_random_objects_never_raise() -> None:
    """Bytes of any kind under any framing."""
    rand = random.Random(11)
    magics = [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"PK\x03\x04", b""]
    for _ in range(300):
        data = rand.choice(magics) + rand.randbytes(rand.randrange(3000))
        result = read(data, AUTO, SMALL)
        assert result.all or not data.strip()


_EVENTS = [{"eventID": f"event-{number}", "text": random.Random(number).randbytes(9).hex()} for number in range(30)]
_ARRAY = json.dumps({"Records": _EVENTS}).encode()
_LINES = b"".join(json.dumps(event).encode() + b"\n" for event in _EVENTS)


@pytest.mark.parametrize(
    "whole",
    [
        _ARRAY,
        gzip.compress(_ARRAY),
        gzip.compress(_LINES),
        gzip.compress(_LINES[:1500]) + gzip.compress(_LINES[1500:]),
        zstd.compress(_LINES),
        bz2.compress(_LINES),
        lzma.compress(_ARRAY),
    ],
    ids=["array", "gzip-array", "gzip-lines", "gzip-members", "zstd-lines", "bz2-lines", "xz-array"],
)
def test_an_object_cut_anywhere_counts_as_the_whole_one_but_for_its_open_end(whole: bytes) -> None:
    """What stands before the last ordinal of the half is the same in the whole, where the rest follows."""
    everything = read(whole).records
    assert len(everything) == len(_EVENTS)
    for cut in range(1, len(whole)):
        half = read(whole[:cut])
        sure = half.all[:-1] if half.decoder.tail_open else half.all
        assert sure == everything[: len(sure)], (cut, half.reasons)
