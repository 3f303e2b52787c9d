"""Lookup tables: what is read, what is found, and what becomes of damaged files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from ingestd.enrichment.tables import Tables, TableSpec

LOG_TYPE = "Test.Log"
MIB = 1 << 20


def spec(name: str = "t", key: str = "key", selectors: tuple[str, ...] = ("field",), **fields: Any) -> TableSpec:
    """A table for one log type."""
    return TableSpec(name=name, key=key, selectors={LOG_TYPE: selectors}, **fields)


def load(
    folder: Path,
    *specs: TableSpec,
    max_bytes: int = MIB,
    kinds_of: Callable[[str], Mapping[str, str]] = lambda _schema: {},
) -> Tables:
    """Tables of the files in a folder."""
    return Tables.load(specs or (spec(),), [folder], max_bytes, kinds_of)


def enriched(tables: Tables, **event: Any) -> Any:
    """What an event gets."""
    event["p_log_type"] = event.get("p_log_type", LOG_TYPE)
    tables.enrich(event)
    return event.get("p_enrichment")


def _named(value: str | bytes) -> str:
    """A parameter's name, the same in every process: gzip puts the time into its bytes."""
    return value if isinstance(value, str) else f"{len(value)} bytes"


ROWS = [{"key": "a", "n": "1"}, {"key": "b", "n": "2"}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", b"key,n\na,1\nb,2\n"),
        ("t.csv", b"\xef\xbb\xbfkey,n\r\na,1\r\nb,2\r\n"),
        ("t.csv.gz", gzip.compress(b'"key","n"\n"a","1"\n\n"b","2"\n')),
        ("t.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)),
        ("t.jsonl.gz", gzip.compress(b"\n".join(json.dumps(row).encode() for row in ROWS))),
        ("t.ndjson", b"\n".join(json.dumps(row).encode() for row in ROWS)),
    ],
    ids=_named,
)
def test_tables_of_each_form_are_read(tmp_path: Path, name: str, data: bytes) -> None:
    """CSV with a header line, JSON lines; plain or gzipped, with a byte order mark or Windows' ends of lines."""
    (tmp_path / name).write_bytes(data)
    tables = load(tmp_path)
    assert tables.left_out == {}
    assert enriched(tables, field="b") == {"t": {"field": {"key": "b", "n": "2", "p_match": "b"}}}
    assert enriched(tables, field="c") is None


def test_a_field_may_be_nested_a_list_or_a_number(tmp_path: Path) -> None:
    """The row stands under the selector as it is written; of a list, the rows of the elements that have one."""
    (tmp_path / "t.csv").write_text("key\na\n7\n")
    tables = load(tmp_path, spec(selectors=("$.x.y", "list", "number", "a.b")))
    a, seven = {"key": "a", "p_match": "a"}, {"key": "7", "p_match": "7"}
    found = enriched(tables, x={"y": "a"}, list=["a", "?", 7, None, {"a": 1}], number=7, **{"a.b": "a"})
    assert found == {"t": {"x.y": a, "list": [a, seven], "number": seven, "a.b": a}}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"field": None},
        {"field": ""},
        {"field": {"a": 1}},
        {"field": True},
        {"field": [["a"]]},
        {"field": "\ud800"},
        {"field": "a", "p_log_type": "Other.Log"},
        {"x": {"field": "a"}},
        {"x": "a"},
    ],
)
def test_events_without_a_key_stay_as_they_are(tmp_path: Path, event: dict[str, Any]) -> None:
    """Missing, null, empty, of another type or log type: nothing is added, nothing raised."""
    (tmp_path / "t.csv").write_text("key\na\n")
    tables = load(tmp_path, spec(selectors=("field", "$.x.y")))
    assert enriched(tables, **event) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("10.1.3.3", "10.1.0.0/16"),
        ("10.1.2.77", "10.1.2.77"),
        ("11.0.0.1", None),
        ("2001:db8::1", "2001:db8::/32"),
        ("2001:0db8:0:0:0:0:0:1", "2001:db8::/32"),
        ("not an address", None),
        ("10.1.2", None),
    ],
)
def test_an_address_is_found_in_the_narrowest_network(tmp_path: Path, address: str, network: str | None) -> None:
    """Networks and single addresses in one table; a path with a slash is a key like any other."""
    keys = ["10.0.0.0/33", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.77", "2001:db8::/32", "usr/bin"]
    (tmp_path / "t.csv").write_text("\n".join(["key", *keys]))
    tables = load(tmp_path)
    found = enriched(tables, field=address)
    assert (found and found["t"]["field"]["key"]) == network
    assert enriched(tables, field="usr/bin") is not None


def test_the_last_of_rows_with_one_key_counts(tmp_path: Path) -> None:
    """As in a file that is appended to."""
    (tmp_path / "t.csv").write_text("key,n\na,1\nb,1\na,2\n")
    assert enriched(load(tmp_path), field="a")["t"]["field"]["n"] == "2"


def test_a_key_may_be_nested_in_its_row(tmp_path: Path) -> None:
    """`a.b` is a key's path where no field has that name."""
    (tmp_path / "t.jsonl").write_text('{"a": {"b": "x"}, "n": 1}\n')
    assert enriched(load(tmp_path, spec(key="a.b")), field="x")["t"]["field"]["n"] == 1


def test_a_schema_gives_the_fields_of_a_csv_their_types(tmp_path: Path) -> None:
    """Numbers, booleans, JSON; what is empty is null; a row that does not fit is left out."""
    (tmp_path / "t.csv").write_text('key,i,f,b,j,s\na,1,1.5,true,"[1]",1\nb,,,,,\nc,x,1,true,1,1\n')
    kinds = {"i": "bigint", "f": "float", "b": "boolean", "j": "json", "s": "string"}
    tables = load(tmp_path, spec(schema="My.Table"), kinds_of=lambda schema: kinds if schema == "My.Table" else {})
    row = enriched(tables, field="a")["t"]["field"]
    assert row == {"key": "a", "i": 1, "f": 1.5, "b": True, "j": [1], "s": "1", "p_match": "a"}
    empty = enriched(tables, field="b")["t"]["field"]
    assert empty == {"key": "b", "i": None, "f": None, "b": None, "j": None, "s": "", "p_match": "b"}
    assert enriched(tables, field="c") is None


def test_the_data_may_lie_beside_the_item_or_where_it_was_put(tmp_path: Path) -> None:
    """The item's own file first; else the name that it has where it is published, else the table's name."""
    for name in ("own.csv", "published.csv", "t.csv"):
        (tmp_path / name).write_text(f"key,from\na,{name}\n")
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("own.csv", {"file": str(tmp_path / "own.csv"), "object_name": "published.csv"}),
        ("published.csv", {"object_name": "published.csv"}),
        ("t.csv", {"object_name": "elsewhere.csv"}),
        ("t.csv", {}),
    )
    for found, fields in cases:
        assert enriched(load(tmp_path, spec(**fields)), field="a")["t"]["field"]["from"] == found


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("t.csv", b"", "no header line"),
        ("t.csv", b"other,n\na,1\n", "no row has the primary key 'key'"),
        ("t.csv", b"key\n", "no row has the primary key 'key'"),
        ("t.csv", b"key\n\xff\xfe\n", "utf-8"),
        ("t.csv", b'key\n"open', "unexpected end of data"),
        ("t.csv", b"key\n" + b"x" * (2 << 20), "more than"),
        ("t.csv.gz", gzip.compress(b"key\n" + b"a\n" * 100_000)[:-200], "cannot be read after line"),
        ("t.csv.gz", b"no gzip at all", "Not a gzipped file"),
        ("t.jsonl", b"{" * 100, "no row has the primary key"),
        ("t.jsonl", b"x" * (2 << 20), "more than"),
        ("t.mmdb", b"no database", "cannot be read"),
        ("t.csv", b"key\n" + b"".join(b"%d\n" % n for n in range(100_000)), "larger than what is left"),
    ],
    ids=_named,
)
def test_a_damaged_table_is_left_out_and_says_why(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    """Its neighbours work."""
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.csv").write_text("key\na\n")
    tables = load(tmp_path, spec(), spec("good"))
    assert reason in tables.left_out["t"]
    assert str(tmp_path / name) in tables.left_out["t"]
    assert enriched(tables, field="a") == {"good": {"field": {"key": "a", "p_match": "a"}}}


def test_rows_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    """Too few or too many values, no key, no object, no JSON: the others are there."""
    (tmp_path / "t.csv").write_text("key,n\na,1\nb\nc,1,2\nd,4\n")
    (tmp_path / "u.jsonl").write_text(
        '{"key": "a"}\n[1]\n{"key": null}\n{"key": {}}\nnonsense\n{"n": 1}\n{"key": "d"}\n'
    )
    tables = load(tmp_path, spec(), spec("u"))
    assert (len(tables), tables.rows) == (2, 4)
    assert set(enriched(tables, field="d")) == {"t", "u"}


def test_all_tables_together_stay_within_the_limit(tmp_path: Path) -> None:
    """The one that no longer fits is left out, a smaller one after it may fit."""
    for name, rows in (("a", 15_000), ("b", 15_000), ("c", 10)):
        (tmp_path / f"{name}.csv").write_text("key\n" + "".join(f"{name}{n}\n" for n in range(rows)))
    tables = load(tmp_path, spec("a"), spec("b"), spec("c"))
    assert list(tables.left_out) == ["b"]
    assert tables.rows == 15_010


def test_what_is_remembered_of_events_is_bounded(tmp_path: Path) -> None:
    """A hundred thousand values that are in no table."""
    (tmp_path / "t.csv").write_text("key\na\n")
    tables = load(tmp_path)
    for number in range(100_000):
        enriched(tables, field=f"value-{number}")
    assert len(tables._tables["t"]._rows) <= 10_000


def test_rules_can_look_up_a_row(tmp_path: Path) -> None:
    """By table and key; a table that is not there is a KeyError."""
    (tmp_path / "t.csv").write_text("key,n\na,1\n")
    tables = load(tmp_path)
    assert tables.lookup("t", "a") == {"key": "a", "n": "1", "p_match": "a"}
    assert tables.lookup("t", "b") is None
    with pytest.raises(KeyError):
        tables.lookup("u", "a")


def test_an_address_is_looked_up_in_a_maxmind_database(tmp_path: Path) -> None:
    """IPv4 and IPv6; what is no address, and what the database does not have, finds nothing."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True)
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": "DE", "lat": "52.5"})
    writer.insert_network(IPSet(["2001:db8::/32"]), {"country": "FR"})
    writer.to_db_file(str(tmp_path / "location.mmdb"))
    tables = load(tmp_path, spec("places", key="cidrblock", object_name="location.mmdb"))
    assert tables.left_out == {}
    found = enriched(tables, field="203.0.113.7")
    assert found == {"places": {"field": {"country": "DE", "lat": "52.5", "p_match": "203.0.113.7"}}}
    assert enriched(tables, field="2001:db8::1")["places"]["field"]["country"] == "FR"
    for value in ("192.0.2.1", "203.0.113.0/24", "x", "", "1" * 1_000):
        assert enriched(tables, field=value) is None
