"""Rows into typed Arrow."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.lake.batch import MAX_PARTITIONS, MAX_PAYLOAD_BYTES, BatchBuilder
from ingestd.lake.parquet import Kept, encode
from ingestd.model import ChunkResult, Column, TableBatch
from tests.lake.conftest import LOG_TYPE, NOW, event, match_of

TEXT = Column(name="element", kind="string")
TABLE = (
    Column(name="text", kind="string"),
    Column(name="big", kind="bigint"),
    Column(name="medium", kind="int"),
    Column(name="small", kind="smallint"),
    Column(name="real", kind="float"),
    Column(name="flag", kind="boolean"),
    Column(name="when", kind="timestamp"),
    Column(name="any", kind="json"),
    Column(name="empty", kind="object"),
    Column(name="texts", kind="array", children=(TEXT,)),
    Column(name="times", kind="array", children=(Column(name="element", kind="timestamp"),)),
    Column(
        name="thing",
        kind="object",
        children=(
            Column(name="arn", kind="string"),
            Column(name="at", kind="timestamp"),
            Column(name="detail", kind="json"),
            Column(name="inner", kind="object", children=(Column(name="n", kind="int"),)),
        ),
    ),
    Column(
        name="things",
        kind="array",
        children=(
            Column(
                name="element",
                kind="object",
                children=(Column(name="id", kind="string"), Column(name="raw", kind="json")),
            ),
        ),
    ),
    Column(name="p_log_type", kind="string"),
    Column(name="p_row_id", kind="string"),
    Column(name="p_event_time", kind="timestamp"),
    Column(name="p_parse_time", kind="timestamp"),
)


def base(**fields: Any) -> dict[str, Any]:
    """An event with some fields."""
    return event("x", 0) | fields


def written(*events: dict[str, Any], columns: tuple[Column, ...] = TABLE) -> list[dict[str, Any]]:
    """The rows after the whole way: Arrow in the child, Parquet in the parent, and read again."""
    builder = BatchBuilder(lambda _: columns)
    for row in events:
        builder.add_event(row)
    return rows_of(builder.take())


def rows_of(tables: tuple[TableBatch, ...]) -> list[dict[str, Any]]:
    """The rows of a taken batch, by way of Parquet."""
    rows: list[dict[str, Any]] = []
    for file in encode([Kept(ChunkResult(spans=(), tables=tables), ())]):
        rows += pq.read_table(pa.BufferReader(pa.py_buffer(file.data))).to_pylist()
    return rows


def test_each_kind_has_its_type() -> None:
    """Numbers, booleans and times are typed; JSON and objects without fields are text; objects are structs."""
    builder = BatchBuilder(lambda _: TABLE)
    builder.add_event(base())
    schema = pa.ipc.open_stream(pa.py_buffer(builder.take()[0].ipc)).schema
    assert schema.field("big").type == pa.int64()
    assert schema.field("small").type == pa.int16()
    assert schema.field("when").type == pa.timestamp("us", "UTC")
    assert schema.field("any").type == schema.field("empty").type == pa.string()
    assert schema.field("thing").type.field("at").type == pa.timestamp("us", "UTC")
    assert schema.field("things").type == pa.list_(
        pa.field("element", pa.struct([("id", pa.string()), ("raw", pa.string())])),
    )


def test_nested_values_are_kept_in_place() -> None:
    """A struct keeps its fields, JSON inside it is text, times inside it are times, an empty object is nulls."""
    thing = {"arn": "a", "at": "2026-07-01 10:00:00.123456789", "detail": {"k": [1]}, "undeclared": 1}
    (row,) = written(base(thing=thing, things=[{"id": "1", "raw": [2]}, None], empty={}, any={"b": None}))
    at = datetime(2026, 7, 1, 10, 0, 0, 123456, UTC)
    assert row["thing"] == {"arn": "a", "at": at, "detail": '{"k":[1]}', "inner": None}
    assert row["things"] == [{"id": "1", "raw": "[2]"}, None]
    assert row["empty"] == "{}"
    assert row["any"] == '{"b":null}'
    (row,) = written(base(thing={}))
    assert row["thing"] == {"arn": None, "at": None, "detail": None, "inner": None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 7),
        ("text", {"a": 1}),
        ("big", "x"),
        ("big", 2**70),
        ("medium", 2**40),
        ("small", 40_000),
        ("real", "1.0"),
        ("flag", "yes"),
        ("when", "yesterday"),
        ("when", 12),
        ("texts", "not a list"),
        ("texts", [1]),
        ("times", ["never"]),
        ("thing", "no object"),
        ("thing", {"arn": ["x"]}),
        ("thing", {"at": "then"}),
        ("things", [{"id": {}}]),
        ("things", {"id": "1"}),
    ],
)
def test_a_value_that_does_not_fit_moves_and_the_row_stays(name: str, value: Any) -> None:
    """The misfit is null in its column, whole in `p_unknown_fields`, counted; its neighbours are untouched."""
    builder = BatchBuilder(lambda _: TABLE)
    for row in (
        base(text="before"),
        base(text="kept", p_unknown_fields={"u": 1}) | {name: value},
        base(text="after"),
    ):
        builder.add_event(row)
    before, mended, after = rows_of(builder.take())
    assert (before["text"], after["text"]) == ("before", "after")
    assert mended[name] is None
    assert json.loads(mended["p_unknown_fields"]) == {"u": 1, name: value}
    assert before["p_unknown_fields"] is after["p_unknown_fields"] is None
    assert builder.misfits == {LOG_TYPE: 1}


def test_text_that_is_not_unicode_moves_too() -> None:
    """A lone surrogate cannot be UTF-8; it is kept as its JSON escape."""
    (row,) = written(base(text="\ud800"))
    assert row["text"] is None
    assert json.loads(row["p_unknown_fields"]) == {"text": "\ud800"}


def test_an_integer_beyond_64_bits_keeps_its_digits_in_json() -> None:
    """JSON text is not limited to what orjson writes."""
    (row,) = written(base(any={"n": 2**80}))
    assert json.loads(row["any"]) == {"n": 2**80}


@pytest.mark.parametrize("text", ["\x1f", "a\x1fb", "\x1e", "\x1d", "\x00", "", "null", "\u00e9\x1f", "\U0001f600"])
def test_control_characters_stay_what_they_are(text: str) -> None:
    """Whatever carries rows to Arrow, a value cannot break out of its place."""
    (row,) = written(base(text=text, texts=[text, "x"], thing={"arn": text}, any={"k": text}))
    assert (row["text"], row["texts"], row["thing"]["arn"]) == (text, [text, "x"], text)
    assert json.loads(row["any"]) == {"k": text}


def test_lists_keep_their_length() -> None:
    """None, empty, one empty text, several: all different."""
    rows = written(*(base(texts=texts) for texts in (None, [], [""], ["a"], ["a", "", "b"], ["a", None])))
    assert [row["texts"] for row in rows] == [None, [], [""], ["a"], ["a", "", "b"], ["a", None]]


def test_rows_of_every_kind_keep_their_order() -> None:
    """Match rows are found by their place, so a row that takes another way must not move."""
    builder = BatchBuilder(lambda _: TABLE)
    titles = ["plain", "with \x1f in it", "plain again", "\x1f", "last"] * 250
    matches = tuple(match_of(base(), title=title) for title in titles)
    for index, match in enumerate(matches):
        builder.add_match(index, match, base())
    tables = builder.take()
    alert_ids = [f"alert-{index}" for index in range(len(titles))]
    (file,) = encode([Kept(ChunkResult(spans=(), tables=tables, matches=matches), alert_ids)])
    rows = pq.read_table(pa.BufferReader(pa.py_buffer(file.data))).to_pylist()
    assert [(row["title"], row["p_alert_id"]) for row in rows] == list(zip(titles, alert_ids, strict=True))


def test_what_happens_to_an_event_later_is_not_seen() -> None:
    """A row is copied when it is added."""
    builder = BatchBuilder(lambda _: TABLE)
    row = base(text="as added", any={"a": 1})
    builder.add_event(row)
    row["text"] = 5
    row["any"].clear()
    (read,) = rows_of(builder.take())
    assert (read["text"], read["any"]) == ("as added", '{"a":1}')


def test_rows_are_parted_by_day() -> None:
    """The day of the event is the day of the file."""
    builder = BatchBuilder(lambda _: TABLE)
    for day in ("2026-07-01", "2026-07-02", "2026-07-01"):
        builder.add_event(event("x", 0, day))
    assert [(batch.day, batch.rows) for batch in builder.take()] == [("2026-07-01", 2), ("2026-07-02", 1)]


@pytest.mark.parametrize("day", ["1999-12-31", "2026-07-05", "9999-12-31", "0001-01-01", "not-a-date", "../../../x"])
def test_an_absurd_day_is_filed_under_the_day_of_parsing(day: str) -> None:
    """Before 2000, or more than two days ahead, or no day at all."""
    builder = BatchBuilder(lambda _: TABLE)
    builder.add_event(event("x", 0, day))
    assert [batch.day for batch in builder.take()] == [NOW[:10]]


def test_a_day_ahead_is_plausible() -> None:
    """Clocks differ."""
    builder = BatchBuilder(lambda _: TABLE)
    builder.add_event(event("x", 0, "2026-07-04"))
    assert [batch.day for batch in builder.take()] == ["2026-07-04"]


def test_invented_days_do_not_become_as_many_partitions() -> None:
    """Past the limit, rows go to the day they were parsed; none is lost."""
    builder = BatchBuilder(lambda _: TABLE)
    for year in range(2001, 2026):
        for month in range(1, 13):
            builder.add_event(event("x", 0, f"{year}-{month:02d}-01"))
    taken = builder.take()
    assert len(taken) <= MAX_PARTITIONS + 1
    assert sum(batch.rows for batch in taken) == 300


def test_matches_and_errors_know_their_place() -> None:
    """Row i of a match table belongs to the match whose index the batch gives, and has its alert's severity."""
    builder = BatchBuilder(lambda _: TABLE)
    row = base()
    matches = (
        match_of(row, title="first", tags=("a",), reports={"MITRE": ["T1"]}),
        match_of(row, kind="error", error="Traceback"),
        match_of(row, title="third", context='{"k": 1}'),
    )
    for index, match in enumerate(matches):
        builder.add_match(index, match, row)
    tables = {batch.table: batch for batch in builder.take()}
    assert tables["rule_matches"].matches == (0, 2)
    assert tables["rule_errors"].matches == (1,)
    alerted = (matches[0], matches[1], msgspec.structs.replace(matches[2], severity="LOW"))
    result = ChunkResult(spans=(), tables=tuple(tables.values()), matches=alerted)
    files = encode([Kept(result, ("alert-a", None, "alert-c"))])
    read = {file.table: pq.read_table(pa.BufferReader(pa.py_buffer(file.data))).to_pylist() for file in files}
    first, third = read["rule_matches"]
    assert (first["title"], first["p_alert_id"], first["p_rule_tags"]) == ("first", "alert-a", ["a"])
    assert json.loads(first["p_rule_reports"]) == {"MITRE": ["T1"]}
    assert json.loads(first["event"]) == row
    assert (third["title"], third["p_alert_id"], third["p_alert_context"]) == ("third", "alert-c", '{"k": 1}')
    assert (third["p_rule_severity"], third["p_alert_severity"]) == ("LOW", "LOW")
    assert (read["rule_errors"][0]["p_rule_error"], read["rule_errors"][0]["p_alert_id"]) == ("Traceback", None)


def test_a_reject_shows_its_bytes() -> None:
    """Binary payload is readable text, cut at a limit, and says so."""
    builder = BatchBuilder(lambda _: ())
    about: dict[str, Any] = {
        "source": "s",
        "origin": {"path": "/in/a.gz"},
        "identity": "file:a",
        "ordinal": 3,
        "row_id": "r",
        "reason": "not_json",
        "detail": "d",
        "log_type": "",
        "offset": 17,
        "parse_time": NOW,
    }
    builder.add_reject(**about, payload=b"\xff{bad")
    builder.add_reject(**about, payload=b"x" * (MAX_PAYLOAD_BYTES + 1))
    short, long = rows_of(builder.take())
    assert (short["payload"], short["payload_truncated"], short["p_log_type"]) == ("\\xff{bad", False, None)
    assert (short["reason"], short["ordinal"], short["stream_offset"]) == ("not_json", 3, 17)
    assert json.loads(short["p_source_file"]) == {"path": "/in/a.gz"}
    assert (len(long["payload"]), long["payload_truncated"]) == (MAX_PAYLOAD_BYTES, True)


def test_taking_starts_anew() -> None:
    """Nothing is returned twice, and the counts begin at zero."""
    builder = BatchBuilder(lambda _: TABLE)
    builder.add_event(base(), 400)
    assert (builder.rows, builder.bytes) == (1, 400)
    assert len(builder.take()) == 1
    assert (builder.rows, builder.bytes) == (0, 0)
    assert builder.take() == ()


def test_a_child_imports_nothing_of_the_parent() -> None:
    """No asyncio and no metrics come with the builder."""
    script = (
        "import ingestd.lake.batch, sys; print(sorted({'asyncio', 'prometheus_client', 'duckdb'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- any row at all -------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(
    lambda at: f"{at.year:04d}-{at:%m-%d %H:%M:%S.%f}000",
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def integers(bits: int) -> st.SearchStrategy[int]:
    """Signed integers of so many bits."""
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same or null."""
    return st.none() | values


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of which each field may be absent or null."""
    return st.fixed_dictionaries({}, optional={name: maybe(values) for name, values in fields.items()})


matching_rows = objects(
    text=texts,
    big=integers(64),
    medium=integers(32),
    small=integers(16),
    real=st.floats(allow_nan=False),
    flag=st.booleans(),
    when=times,
    any=json_values,
    empty=st.dictionaries(texts, json_values, max_size=2),
    texts=st.lists(maybe(texts), max_size=3),
    times=st.lists(maybe(times), max_size=3),
    thing=objects(arn=texts, at=times, detail=json_values, inner=objects(n=integers(32))),
    things=st.lists(maybe(objects(id=texts, raw=json_values)), max_size=3),
)


def expected(value: Any, column: Column) -> Any:
    """What a value must be after the way through the lake."""
    if value is None:
        return None
    if column.kind == "json" or (column.kind == "object" and not column.children):
        return ("json", value)
    if column.kind == "array":
        return [expected(element, column.children[0]) for element in value]
    if column.kind == "object":
        return {child.name: expected(value.get(child.name), child) for child in column.children}
    if column.kind == "timestamp":
        return datetime.fromisoformat(value[:26]).replace(tzinfo=UTC)
    return value


def found(value: Any, column: Column) -> Any:
    """A value read back, in the form of `expected`."""
    if value is None:
        return None
    if column.kind == "json" or (column.kind == "object" and not column.children):
        return ("json", json.loads(value))
    if column.kind == "array":
        return [found(element, column.children[0]) for element in value]
    if column.kind == "object":
        return {child.name: found(value[child.name], child) for child in column.children}
    return value


@given(st.lists(matching_rows, min_size=1, max_size=5))
def test_any_row_that_matches_its_columns_comes_back(rows: list[dict[str, Any]]) -> None:
    """Values, nulls, empty lists and nesting survive Arrow and Parquet."""
    read = written(*(base(**row) for row in rows))
    for row, back in zip(rows, read, strict=True):
        for column in TABLE[:13]:
            assert found(back[column.name], column) == expected(row.get(column.name), column)
        assert back["p_unknown_fields"] is None


wild = st.fixed_dictionaries({}, optional={column.name: json_values for column in TABLE[:13]})


@given(st.lists(wild, min_size=1, max_size=4))
def test_no_json_value_costs_a_row(rows: list[dict[str, Any]]) -> None:
    """Whatever stands in a column, the row is there, and the value is in its column or in `p_unknown_fields`."""
    read = written(*(base(**row) for row in rows))
    assert len(read) == len(rows)
    for row, back in zip(rows, read, strict=True):
        moved = json.loads(back["p_unknown_fields"] or "{}")
        for name, value in row.items():
            if name in moved:
                assert back[name] is None
                assert moved[name] == value or (isinstance(value, float) and math.isnan(value))
            elif value is None or (value == "" and name == "when"):
                assert back[name] is None
            else:
                assert back[name] is not None
