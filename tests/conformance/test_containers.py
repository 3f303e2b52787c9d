"""What every row of the framing table must do whose objects are containers of typed rows."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.decode import Damage, Limits
from ingestd.decode.framing import TABLE
from ingestd.model import Framing
from tests.decode.reading import SMALL, frame, read

Row = dict[str, Any]

AVRO = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "count", "type": ["null", "long"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "raw", "type": "bytes"},
    ],
}
_FIELDS: list[pa.Field[Any]] = [
    pa.field("name", pa.string()),
    pa.field("count", pa.int64()),
    pa.field("at", pa.timestamp("ms", "UTC")),
    pa.field("tags", pa.map_(pa.string(), pa.string())),
    pa.field("raw", pa.binary()),
]
ARROW = pa.schema(_FIELDS)


def rows(count: int) -> list[Row]:
    """Rows with a text, a number that may be missing, a time, a map and bytes."""
    start = datetime(2024, 5, 1, 10, tzinfo=UTC)
    return [
        {
            "name": f"é {at}",
            "count": at if at % 3 else None,
            "at": start,
            "tags": {"k": f"v{at}"},
            "raw": b"\xff" if at % 2 else b"text",
        }
        for at in range(count)
    ]


def avro(given: list[Row]) -> bytes:
    """An Avro file with a block for every few rows."""
    stream = io.BytesIO()
    fastavro.writer(
        stream, fastavro.parse_schema(AVRO), given, codec="deflate", sync_interval=200, sync_marker=b"S" * 16
    )
    return stream.getvalue()


def parquet(given: list[Row]) -> bytes:
    """A Parquet file with a row group for every few rows."""
    stream = io.BytesIO()
    table = pa.Table.from_pylist([{**row, "tags": [*row["tags"].items()]} for row in given], ARROW)
    pq.write_table(table, stream, compression="zstd", row_group_size=7, write_page_checksum=True)
    return stream.getvalue()


class Container(NamedTuple):
    """How such a file is written, and how it is read from any cut of it on."""

    write: Callable[[list[Row]], bytes]
    at: str
    """How the time of the rows comes out."""
    streams: bool
    """Whether rows come before the end does."""


CONTAINERS = {
    "avro": Container(avro, "2024-05-01T10:00:00+00:00", streams=True),
    "parquet": Container(parquet, "2024-05-01 10:00:00.000Z", streams=False),
}
every = pytest.mark.parametrize("name", list(CONTAINERS))


def expected(name: str, given: list[Row]) -> list[Row]:
    """The rows as JSON: without nulls, times and bytes as texts."""
    plain = [{**row, "at": CONTAINERS[name].at, "raw": "/w==" if row["raw"] == b"\xff" else "text"} for row in given]
    return [{key: value for key, value in row.items() if value is not None} for row in plain]


def decoded(records: list[bytes]) -> list[Row]:
    """Records as what they say."""
    return [json.loads(record) for record in records]


def test_every_row_of_the_table_that_is_no_text_is_tried_here() -> None:
    """A new container gets this suite by an entry in `CONTAINERS`."""
    assert {row.name for row in TABLE if not row.text} == set(CONTAINERS)


@every
def test_the_rows_come_out_as_json(name: str) -> None:
    """With their types, in order, found by the first bytes."""
    given = rows(50)
    result = read(CONTAINERS[name].write(given))
    assert decoded(result.records) == expected(name, given)
    assert (result.decoder.framing, result.decoder.failure, result.damages) == (name, None, [])


@every
def test_the_way_the_bytes_are_cut_changes_nothing(name: str) -> None:
    """Pieces of every size, down to single bytes, give the same records."""
    data, framing = CONTAINERS[name].write(rows(9)), Framing(name=name)
    whole = frame(data, framing, len(data))
    for size in range(1, len(data), 7):
        assert frame(data, framing, size) == whole


@every
def test_a_file_cut_anywhere_gives_a_prefix_and_says_so(name: str) -> None:
    """A file whose end has not come is read again when it has."""
    given = rows(20)
    data = CONTAINERS[name].write(given)
    wanted = expected(name, given)
    for end in range(1, len(data)):
        result = read(data[:end], Framing(name=name))
        assert decoded(result.records) == wanted[: len(result.records)]
        if result.damages:
            assert (result.reasons, result.decoder.tail_open) == (["truncated"], True)
        else:
            assert CONTAINERS[name].streams, "only between two blocks nothing says that more should come"


@every
def test_damage_costs_its_block_only(name: str) -> None:
    """What can be read before and after it comes."""
    data = bytearray(CONTAINERS[name].write(rows(200)))
    middle = len(data) // 3
    data[middle : middle + 4] = bytes(byte ^ 0xFF for byte in data[middle : middle + 4])
    result = read(bytes(data), Framing(name=name))
    assert 1 <= len(result.damages) <= 2
    assert set(result.reasons) == {f"corrupt_{name}"}
    assert len(result.records) > 150
    assert isinstance(result.all[0], bytes)
    assert isinstance(result.all[-1], bytes)
    assert result.decoder.failure is None


@every
def test_noise_never_raises(name: str) -> None:
    """Neither random bytes, nor good files with random changes anywhere."""
    rand = random.Random(11)
    sample = CONTAINERS[name].write(rows(30))
    for _ in range(400):
        data = bytearray(sample)
        for _ in range(rand.randrange(1, 8)):
            data[rand.randrange(len(data))] = rand.randrange(256)
        result = read(bytes(data), Framing(name=name))
        assert result.comparable == read(bytes(data), Framing(name=name), size=97).comparable
        read(rand.randbytes(rand.randrange(200)), Framing(name=name))


@every
def test_a_row_past_the_limit_is_left_out_and_its_neighbours_come(name: str) -> None:
    """It takes its ordinal."""
    given = rows(3)
    given[1]["name"] = "x" * 70_000
    result = read(CONTAINERS[name].write(given), Framing(name=name), SMALL)
    assert [isinstance(record, Damage) for record in result.all] == [False, True, False]
    assert result.reasons == ["record_too_long"]


@every
def test_a_text_that_is_not_utf8_damages_its_row_only(name: str) -> None:
    """Producers write what they like into columns of texts."""
    given = rows(3)
    given[1]["name"] = "marker"
    data = CONTAINERS[name].write(given)
    if name == "avro":
        stream = io.BytesIO()
        fastavro.writer(stream, fastavro.parse_schema(AVRO), given, codec="null")
        data = stream.getvalue()
    else:
        stream = io.BytesIO()
        table = pa.Table.from_pylist([{**row, "tags": [*row["tags"].items()]} for row in given], ARROW)
        pq.write_table(table, stream, compression="none", use_dictionary=False, write_statistics=False)
        data = stream.getvalue()
    result = read(data.replace(b"marker", b"m\xff\xferk"[:6].ljust(6, b"x")), Framing(name=name))
    assert result.reasons == ["invalid_utf8"]
    assert [isinstance(record, Damage) for record in result.all] == [False, True, False]


@every
def test_an_empty_object_is_no_damage(name: str) -> None:
    """Nothing came, so nothing is wrong."""
    result = read(b"", Framing(name=name))
    assert (result.all, result.decoder.failure) == ([], None)


@every
def test_rows_out_of_all_proportion_to_the_file_end_it(name: str) -> None:
    """A small file of very many equal rows is a bomb, whatever its index says."""
    if name == "avro":
        stream = io.BytesIO()
        schema = {"type": "record", "name": "Empty", "fields": []}
        fastavro.writer(stream, fastavro.parse_schema(schema), ({} for _ in range(20_000)), codec="null")
    else:
        stream = io.BytesIO()
        pq.write_table(pa.table({"a": ["x" * 5000] * 20_000}), stream, compression="zstd")
    result = read(stream.getvalue(), Framing(name=name), Limits(ratio_from_bytes=1 << 20, max_ratio=100))
    assert result.decoder.failure == "expansion_limit"
    assert len(result.records) < 20_000
