"""`ingestd infer-schema`: from sample files to a schema on stdout."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingestd.cli.arrays import array_path

from .conftest import Ingestd

ORDERS = [{"order": f"n{at}", "at": "2024-05-01T10:00:00Z", "peer": "10.0.0.1"} for at in range(3)]
LINES = "\n".join(map(json.dumps, ORDERS)).encode()


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A file of JSON lines."""
    file = tmp_path / "shop-orders.jsonl"
    file.write_bytes(LINES)
    return file


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        gzip.compress(LINES),
        json.dumps(ORDERS).encode(),
        json.dumps({"Records": ORDERS}, indent=2).encode(),
        b"\n".join(json.dumps(order, indent=2).encode() for order in ORDERS),
        json.dumps({"page": 1, "data": {"rows": ORDERS}}).encode(),
    ],
    ids=["lines", "gzip", "array", "Records", "pretty", "path"],
)
def test_the_schema_goes_to_stdout(ingestd: Ingestd, tmp_path: Path, data: bytes) -> None:
    """However the records lie in the file; what was done is told on stderr."""
    (tmp_path / "shop-orders.x").write_bytes(data)
    ended = ingestd("infer-schema", tmp_path / "shop-orders.x")
    schema = yaml.safe_load(ended.out)
    assert (ended.code, schema["schema"]) == (0, "Custom.ShopOrders")
    assert [field["name"] for field in schema["fields"]] == ["order", "at", "peer"]
    assert "3 records of JSON; 0 left out" in ended.err
    assert ("envelope: data.rows" in ended.out) == (b'"data"' in data)


def test_the_schema_is_ready_to_use(ingestd: Ingestd, tmp_path: Path, orders: Path) -> None:
    """`parse` reads the samples with it."""
    (tmp_path / "s.yml").write_text(ingestd("infer-schema", "--name", "Custom.Shop", orders).out)
    ended = ingestd("parse", "--schemas", tmp_path / "s.yml", "--log-type", "Custom.Shop", orders)
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[0])["p_any_ip_addresses"] == ["10.0.0.1"]


def rows(count: int) -> list[dict[str, Any]]:
    """With a time, an address, a number, an identifier and an object."""
    start = datetime(2024, 5, 1, 10, tzinfo=UTC)
    return [
        {
            "when": start + timedelta(seconds=at),
            "ip": f"198.51.100.{at}",
            "n": at,
            "zip": f"0{at}",
            "o": {"user_name": f"u{at}"},
        }
        for at in range(count)
    ]


def parquet(given: list[dict[str, Any]]) -> bytes:
    """A Parquet file of these rows."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(given), stream)
    return stream.getvalue()


def avro(given: list[dict[str, Any]]) -> bytes:
    """An Avro file of these rows."""
    time = {"type": "long", "logicalType": "timestamp-millis"}
    inner = {"type": "record", "name": "O", "fields": [{"name": "user_name", "type": "string"}]}
    kinds = {"when": time, "ip": "string", "n": "long", "zip": "string", "o": inner}
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in kinds.items()]}
    stream = io.BytesIO()
    fastavro.writer(stream, fastavro.parse_schema(schema), given)
    return stream.getvalue()


def xml(given: list[dict[str, Any]]) -> bytes:
    """An XML document of these rows."""
    events = (
        f"<Event><when>{row['when'].isoformat()}</when><ip>{row['ip']}</ip><n>{row['n']}</n><zip>{row['zip']}</zip>"
        f"<o><user_name>{row['o']['user_name']}</user_name></o></Event>"
        for row in given
    )
    return f"<Events>{''.join(events)}</Events>".encode()


@pytest.mark.parametrize(("write", "what"), [(parquet, "Parquet"), (avro, "Avro"), (xml, "XML")])
def test_files_of_rows(
    ingestd: Ingestd, tmp_path: Path, write: Callable[[list[dict[str, Any]]], bytes], what: str
) -> None:
    """Whatever holds them: the same fields, and every value comes back."""
    (tmp_path / "sample").write_bytes(write(rows(40)))
    ended = ingestd("infer-schema", "--name", "Custom.Rows", tmp_path / "sample")
    assert ended.code == 0, ended.err
    assert f"40 records of {what}; 0 left out; 40 read again with the schema, 0 losses" in ended.err
    found = {field["name"]: field for field in yaml.safe_load(ended.out)["fields"]}
    assert (found["when"]["type"], found["when"]["isEventTime"]) == ("timestamp", True)
    assert found["ip"]["indicators"] == ["ip"]
    assert (found["n"]["type"], found["zip"]["type"]) == ("bigint", "string")
    assert found["o"]["fields"] == [{"name": "user_name", "type": "string", "indicators": ["username"]}]


def test_quoted_cells_may_span_lines(ingestd: Ingestd, tmp_path: Path) -> None:
    """A csv file is cut into rows, not into lines."""
    (tmp_path / "a.csv").write_text('user,note\nann,"two\nlines"\nbob,one\n')
    ended = ingestd("infer-schema", tmp_path / "a.csv")
    assert ended.code == 0
    assert "2 records of csv with a header" in ended.err


def test_sample_stdin_and_folders(
    ingestd: Ingestd, tmp_path: Path, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many records of each file; `-` is stdin; a folder is all that lies in it."""
    assert "2 records" in ingestd("infer-schema", "--sample", "2", orders).err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES)))
    assert "3 records" in ingestd("infer-schema", "--name", "Custom.A", "-").err
    (tmp_path / "more.jsonl").write_bytes(LINES)
    assert "6 records" in ingestd("infer-schema", "--name", "Custom.A", tmp_path).err


def test_a_bad_line_is_told(ingestd: Ingestd, orders: Path) -> None:
    """With its place; the schema comes out all the same."""
    orders.write_bytes(LINES + b"\nnot json\n")
    ended = ingestd("infer-schema", orders)
    assert (ended.code, bool(ended.out)) == (0, True)
    assert "1 left out" in ended.err
    assert "record 3: not JSON" in ended.err


def test_a_loss_is_exit_code_1(ingestd: Ingestd, orders: Path) -> None:
    """What the schema does not bring back is listed."""
    orders.write_text('{"name": "a", "Name": "b"}')
    ended = ingestd("infer-schema", orders)
    assert ended.code == 1
    assert "lost: " in ended.err


def test_report(ingestd: Ingestd, orders: Path) -> None:
    """The evidence of each path, as a table and as JSON."""
    assert "timeFormats=['rfc3339']" in ingestd("infer-schema", "--report", orders).out
    answer = json.loads(ingestd("infer-schema", "--report", "--json", orders).out)
    assert (answer["records"], answer["losses"]) == (3, [])
    at = next(field for field in answer["fields"] if field["path"] == "at")
    assert (at["type"], at["seen"], at["evidence"]["text"], at["confidence"]) == ("timestamp", 3, 3, 0.6)


OLD = """\
# mine
schema: Custom.Shop
fields:
  - {name: order, type: string, required: true}  # the number
  - {name: at, type: timestamp, timeFormats: [unix]}
"""


def test_update_adds_and_keeps(ingestd: Ingestd, tmp_path: Path, orders: Path) -> None:
    """New fields and time formats go in, comments and the rest stay, the difference is told."""
    (tmp_path / "old.yml").write_text(OLD)
    ended = ingestd("infer-schema", "--update", tmp_path / "old.yml", orders)
    assert ended.code == 0
    assert ended.out == (
        OLD.replace("[unix]", "[unix, rfc3339]") + "  - {name: peer, type: string, indicators: [ip]}\n"
    )
    assert "+  - {name: peer, type: string, indicators: [ip]}" in ended.err


def test_update_flags_what_breaks(ingestd: Ingestd, tmp_path: Path, orders: Path) -> None:
    """What the samples contradict is told and not changed."""
    (tmp_path / "old.yml").write_text(OLD.replace("order, type: string", "order, type: bigint"))
    ended = ingestd("infer-schema", "--update", tmp_path / "old.yml", orders)
    assert ended.code == 1
    assert "breaking: order: is bigint, the samples are string" in ended.err
    assert "order, type: bigint" in ended.out


def test_mistakes_of_usage(ingestd: Ingestd, orders: Path, tmp_path: Path) -> None:
    """A wrong name and a file that is not there."""
    assert ingestd("infer-schema", "--name", "orders", orders).code == 2
    assert ingestd("infer-schema", tmp_path / "nope").code == 2


@pytest.mark.parametrize(
    ("head", "path"),
    [
        (b'{"a": {"rows": [{"b": 1}, {"b": 2}', "a.rows"),
        (b'{"rows": [{"b": [{"c": 1}]}]}', "rows"),
        (b'{"rows": [{"b": 1}]} {"rows": []}', None),
        (b'{"id": "an event with a short list in it", "tags": [{"b": 1}], "more": "text"}', None),
        (b'{"rows": ["a", "b"]}', None),
        (b'}{"a"', None),
        (b"", None),
    ],
)
def test_where_the_array_is(head: bytes, path: str | None) -> None:
    """An array of objects that makes up most of the one document."""
    assert array_path(head) == path


def test_the_schema_of_the_example_is_what_comes_out(ingestd: Ingestd) -> None:
    """The page on custom logs shows a schema that nobody touched."""
    example = Path(__file__).resolve().parents[2] / "examples" / "custom-logs"
    ended = ingestd("infer-schema", "--name", "Custom.Shop.Order", example / "inbox")
    assert ended.out == (example / "schemas" / "order.yml").read_text()
