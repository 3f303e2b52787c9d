"""Avro and Parquet: every codec, every type, and files made to harm."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.decode import Limits
from ingestd.decode.parquet_index import sizes
from ingestd.model import Framing
from tests.decode.reading import read

SYNC = b"S" * 16
LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}


def number(value: int) -> bytes:
    """As Avro writes it."""
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def text(value: bytes) -> bytes:
    """The same."""
    return number(len(value)) + value


def container(schema: Any, count: int, data: bytes, codec: bytes = b"null") -> bytes:
    """An Avro file with one block, whatever is in it."""
    entries = text(b"avro.schema") + text(json.dumps(schema).encode()) + text(b"avro.codec") + text(codec)
    return b"Obj\x01" + number(2) + entries + number(0) + SYNC + number(count) + number(len(data)) + data + SYNC


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_every_codec_of_avro(codec: str) -> None:
    """Those that the specification names."""
    stream = io.BytesIO()
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}
    try:
        fastavro.writer(stream, fastavro.parse_schema(schema), ({"n": n} for n in range(500)), codec=codec)
    except ValueError:  # the writer of the tests lacks the library; ours reads it all the same
        pytest.skip(f"fastavro cannot write {codec} here")
    assert [json.loads(record)["n"] for record in read(stream.getvalue()).records] == list(range(500))


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_every_codec_of_parquet(codec: str) -> None:
    """Those that writers use."""
    data = parquet(pa.table({"n": list(range(500))}), compression=codec)
    assert [json.loads(record)["n"] for record in read(data).records] == list(range(500))


def test_types_of_parquet_keep_their_meaning() -> None:
    """Numbers stay numbers, times become texts, maps objects; nulls at the top are left out."""
    deep = pa.struct([("when", pa.timestamp("ns")), ("words", pa.list_(pa.dictionary(pa.int32(), pa.string())))])
    table = pa.table(
        {
            "amount": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "day": pa.array([date(2024, 5, 1), None]),
            "at": pa.array([datetime(2024, 5, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "far": pa.array([1 << 62, None], pa.timestamp("us")),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
            "deep": pa.array([{"when": datetime(2024, 5, 1), "words": ["x", "x"]}, None], deep),
            "ok": [True, False],
        }
    )
    first, second = map(json.loads, read(parquet(table)).records)
    assert first == {
        "amount": 1.5,
        "day": "2024-05-01",
        "at": "2024-05-01 00:00:00.000000Z",
        "far": "<value out of range: 4611686018427387904>",
        "map": {"a": 1},
        "deep": {"when": "2024-05-01 00:00:00.000000000", "words": ["x", "x"]},
        "ok": True,
    }
    assert second == {"ok": False}


def test_times_that_avro_cannot_mean_stay_numbers() -> None:
    """A poisoned value costs nothing."""
    fields = [{"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}]
    result = read(container({"type": "record", "name": "R", "fields": fields}, 2, number(1 << 60) + number(0)))
    assert [json.loads(record)["t"] for record in result.records] == [1 << 60, "1970-01-01T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (container(LIST, 1, b"\x02" * 1_000_000 + b"\0"), "corrupt_avro"),
        (container({"type": "array", "items": "null"}, 1, number(1 << 60)), "corrupt_avro"),
        (container({"type": "array", "items": "long"}, 1, number(1 << 60)), "corrupt_avro"),
        (container("bytes", 1, number(1 << 60) + b"x"), "corrupt_avro"),
        (container("no such type", 1, b"x"), "corrupt_avro"),
        (container({"type": "record", "name": "R", "fields": "x"}, 1, b"x"), "corrupt_avro"),
        (container("bytes", 1, b"x", b"no such codec"), "corrupt_avro"),
        (b"Obj\x01" + number(1) + number(1 << 50), "corrupt_avro"),
    ],
)
def test_avro_made_to_harm_is_a_reject(data: bytes, reason: str) -> None:
    """Endless recursion, arrays of nothing, lengths that lie, schemas that are none."""
    result = read(data)
    assert set(result.reasons) == {reason}
    assert result.records == []


def test_a_block_of_avro_that_inflates_without_end_is_cut_off() -> None:
    """Four times the longest record is all that a block may become."""
    import zlib

    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(40_000_000)) + packer.flush()
    result = read(container("bytes", 1, bomb, b"deflate"), limits=Limits(max_record_bytes=1 << 20))
    assert result.reasons == ["expansion_limit"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pa.table({"a": pa.array([[0] * 10_000_000])}), "expansion_limit"),
        (pa.table({"a": ["\0" * 50_000_000]}), "expansion_limit"),
        (
            pa.table(
                {
                    "a": pa.ListArray.from_arrays(
                        [0, 50_000], pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["x" * 9999])
                    )
                }
            ),
            "record_too_long",
        ),
        (pa.table({f"c{n}": [n] for n in range(10_001)}), "corrupt_parquet"),
    ],
)
def test_parquet_made_to_harm_is_a_reject(table: pa.Table, reason: str) -> None:
    """Long runs of nothing, texts of nothing, one text ten thousand times, more columns than any log has."""
    result = read(parquet(table, compression="zstd"))
    assert result.reasons == [reason]
    assert result.records == []


def test_columns_nested_without_end_are_refused() -> None:
    """Where the library has a bound of its own, its word counts."""
    column: pa.Array[Any] = pa.array([1])
    for _ in range(400):
        column = pa.StructArray.from_arrays([column], ["a"])
    result = read(parquet(pa.table({"a": column})))
    assert result.reasons in (["corrupt_parquet"], ["unreadable_row"])


def test_a_parquet_file_past_what_is_kept_is_refused() -> None:
    """It lies in a temporary file until it is whole."""
    data = parquet(pa.table({"n": list(range(100_000))}), compression="none")
    result = read(data, limits=Limits(max_kept_bytes=100_000))
    assert result.reasons == ["object_too_long"]


def test_a_parquet_file_in_gzip_and_one_in_a_zip_are_read() -> None:
    """Compression comes before framing, here too."""
    import gzip
    import zipfile

    data = parquet(pa.table({"n": [1, 2]}))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.parquet", data)
        file.writestr("b.parquet", data)
    assert len(read(gzip.compress(data)).records) == 2
    assert len(read(archive.getvalue(), Framing(name="parquet")).records) == 4


FLIPS = """\
import sys
from pathlib import Path
from tests.decode.reading import read

data = Path(sys.argv[1]).read_bytes()
start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
for at in range(start, len(data) - 8):
    for flip in (0x01, 0x04, 0x80, 0xFF):
        damaged = bytearray(data)
        damaged[at] ^= flip
        read(bytes(damaged))
"""


def test_a_damaged_index_does_not_end_the_process(tmp_path: Path) -> None:
    """The library does, when it is asked for numbers of some of them. Tried on every byte of an index."""
    table = pa.table({"a": [1, None, 3], "l": [["x"], [], None]})
    (tmp_path / "a.parquet").write_bytes(parquet(table, store_schema=False))
    command = [sys.executable, "-c", FLIPS, str(tmp_path / "a.parquet")]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_an_index_that_says_more_than_there_is_costs_nothing() -> None:
    """Sizes are read from the bytes, whatever they are."""
    good = parquet(pa.table({"a": [1, 2, 3]}))
    index = good[-8 - int.from_bytes(good[-8:-4], "little") : -8]
    assert sizes(index).rows == 3
    for end in range(len(index)):
        with pytest.raises(ValueError, match="index"):
            sizes(index[:end])
    for bad in (b"\x1c" * 1000, b"\x19\xfc" + b"\xff" * 9, b"\x19\x0f"):
        with pytest.raises(ValueError, match="index"):
            sizes(bad)
