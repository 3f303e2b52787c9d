"""What every row of the compression table must do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
import zipfile
from collections.abc import Callable

import cramjam
import lz4.frame
import pytest
from backports import zstd

from ingestd.decode import Limits, ObjectDecoder
from ingestd.decode.codec import STEP
from ingestd.decode.compression import TABLE
from tests.decode.reading import LINES, read


def _zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.txt", data)
    return file.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lambda data: bytes(lz4.frame.compress(data, content_checksum=True)),
    "snappy": lambda data: bytes(cramjam.snappy.compress(data)),
    "zip": _zip,
}
MAGIC = {row.name: len(row.magics[0]) for row in TABLE}
every = pytest.mark.parametrize("name", list(COMPRESS))
every_stream_with_end = pytest.mark.parametrize("name", [name for name in COMPRESS if name not in ("zip", "snappy")])
every_stream = pytest.mark.parametrize("name", [name for name in COMPRESS if name != "zip"])

RECORDS = [f"record {number} {'=' * (number % 50)}".encode() for number in range(60)]
PLAIN = b"\n".join(RECORDS) + b"\n"


def noise(size: int) -> bytes:
    """Lines that hardly compress."""
    return random.Random(1).randbytes(size // 2).hex().encode()


def test_every_row_of_the_table_is_tried_here() -> None:
    """A new compression gets this suite by an entry in `COMPRESS`."""
    assert {row.name for row in TABLE} == set(COMPRESS)


@every
def test_plain_bytes_come_back(name: str) -> None:
    """What was compressed is what is read, and the compression is told."""
    result = read(COMPRESS[name](PLAIN), LINES)
    assert result.records == RECORDS
    assert result.decoder.compression == name
    assert result.decoder.failure is None
    assert result.decoder.plain_bytes == len(PLAIN)


@every
def test_large_pieces_come_in_steps(name: str) -> None:
    """Objects of several steps and slices come back whole, dense or not."""
    data = b"\n".join((noise(STEP + STEP // 2), b"=" * 3 * STEP, noise(STEP // 2)))
    assert b"\n".join(read(COMPRESS[name](data), LINES).records) == data


@every
def test_the_way_the_bytes_arrive_changes_nothing(name: str) -> None:
    """One byte at a time, or any other size, gives what all at once gives."""
    data = COMPRESS[name](PLAIN + noise(100_000))
    whole = read(data, LINES).comparable
    assert read(data, LINES, size=1000).comparable == whole
    assert read(data[:20_000], LINES, size=1).comparable == read(data[:20_000], LINES).comparable


@every_stream
def test_streams_one_after_the_other_are_one(name: str) -> None:
    """Members, frames or streams are joined, zero padding between them is passed over."""
    data = COMPRESS[name](PLAIN)
    assert read(data * 3, LINES).records == RECORDS * 3
    if name != "snappy":
        assert read(data + bytes(512) + data + bytes(512), LINES).records == RECORDS * 2
        assert read(data + bytes(512) + data, LINES, size=1).decoder.failure is None


@every
def test_a_cut_stream_keeps_its_good_part(name: str) -> None:
    """Wherever it is cut, a prefix of the records comes, then one damage that says so."""
    data = COMPRESS[name](PLAIN)
    for end in range(MAGIC[name], len(data) - 1):
        result = read(data[:end], LINES)
        assert result.records == RECORDS[: len(result.records)]
        if result.decoder.failure is None:
            # only what follows the data is missing, or snappy ended between two chunks, which nothing tells
            assert result.records == (RECORDS if end > len(data) // 2 else [])
            continue
        assert result.decoder.failure == "truncated"
        assert result.reasons == ["truncated"]
        assert result.all[-1] is result.damages[0]


def test_a_cut_stream_gives_what_was_there() -> None:
    """Of a gzip cut in its last tenth most records come, and the record it was cut in shows in the damage."""
    data = gzip.compress(PLAIN)
    result = read(data[: len(data) * 9 // 10], LINES)
    assert len(result.records) > 0.7 * len(RECORDS)
    (damage,) = result.damages
    assert damage.offset == len(b"\n".join(result.records)) + 1
    assert RECORDS[len(result.records)].startswith(damage.payload)


@every
def test_a_damaged_stream_never_raises(name: str) -> None:
    """Whichever byte is changed: damage is told, or nothing of the content was touched."""
    data = COMPRESS[name](PLAIN)
    for at in range(MAGIC[name], len(data)):
        result = read(data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :], LINES)
        assert result.damages or result.records == RECORDS


@every
def test_noise_behind_the_magic_bytes_is_one_damage(name: str) -> None:
    """A file that only begins like a compressed one is one reject."""
    magic = next(row for row in TABLE if row.name == name).magics[0]
    for seed in range(30):
        data = magic + random.Random(seed).randbytes(40_000)
        assert len(read(data, LINES).damages) >= 1


@every_stream_with_end
def test_garbage_after_the_end_is_left_out_and_told(name: str) -> None:
    """The good part is kept to its last record."""
    for garbage in (b"x", b"garbage" * 10_000, b"\0\0\0garbage"):
        result = read(COMPRESS[name](PLAIN) + garbage, LINES)
        assert result.records == RECORDS
        assert result.reasons == ["trailing_garbage"]
        assert result.decoder.failure == "trailing_garbage"
        assert result.damages[0].payload.lstrip(b"\0").startswith(garbage.lstrip(b"\0")[:1])


@every
def test_a_dense_stream_takes_bounded_memory(name: str) -> None:
    """Plain bytes are made step by step, however many a compressed byte stands for."""
    line = b"a" * 100_000 + b"\n"
    data = COMPRESS[name](line * 640)
    limits = Limits(max_ratio=1_000_000)
    decoder = ObjectDecoder(LINES, limits)
    tracemalloc.start()
    try:
        count = sum(len(block.records) for block in decoder.feed(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    count += sum(len(block.records) for block in decoder.finish())
    assert count == 640
    assert peak < 8 * STEP


@pytest.mark.parametrize("name", ["gzip", "zstd", "bz2", "xz", "zip"])
def test_a_bomb_is_stopped_early(name: str) -> None:
    """Zeros without end are given up after a few megabytes, and named."""
    data = COMPRESS[name](bytes(64 * STEP))
    result = read(data, LINES)
    assert result.reasons == ["expansion_limit"]
    assert result.decoder.failure == "expansion_limit"
    assert result.decoder.plain_bytes < 20 * STEP


@every
def test_one_more_compression_is_seen_within(name: str) -> None:
    """What was compressed twice on its way is read, a third layer is not."""
    result = read(gzip.compress(COMPRESS[name](PLAIN)), LINES)
    assert result.records == RECORDS
    assert result.decoder.compression == ("gzip" if name == "gzip" else f"gzip+{name}")
    assert read(gzip.compress(gzip.compress(COMPRESS[name](PLAIN))), LINES).records != RECORDS


@every
def test_an_empty_content_is_no_record(name: str) -> None:
    """Zero records, no damage."""
    result = read(COMPRESS[name](b""), LINES)
    assert result.all == []
    assert result.decoder.failure is None


def test_frames_to_be_skipped_are_skipped() -> None:
    """Tools that compress in parallel put them before and between the frames of zstd."""
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"
    frame = COMPRESS["zstd"](PLAIN)
    result = read(skippable + frame + skippable + frame + skippable, LINES)
    assert result.all == RECORDS * 2
    assert result.decoder.compression == "zstd"


def test_a_stream_that_asks_for_too_much_memory_is_refused() -> None:
    """A frame may declare a window of gigabytes in one byte."""
    gigabyte_window = b"\x28\xb5\x2f\xfd" + b"\x00\xa0" + b"\x29\x00\x00" + b"hello"
    assert read(gigabyte_window, LINES).reasons == ["codec_memory"]
    small_window = b"\x28\xb5\x2f\xfd" + b"\x00\x50" + b"\x29\x00\x00" + b"hello"
    assert read(small_window, LINES).all == [b"hello"]
