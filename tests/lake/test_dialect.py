"""Scheduled queries, written for a warehouse, over the lake."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.errors import Permanent
from ingestd.lake.arrow import arrow_schema
from ingestd.lake.dialect import translate
from ingestd.lake.query_process import ask
from ingestd.lake.query_program import Order, why_not
from ingestd.schemas.registry import Registry

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
NAMES = {"aws_cloudtrail": "AWS.CloudTrail"}
REGISTRY = Registry.load([], builtin=True)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two calls of today and one of last month, in a file that lacks most columns of its log type."""
    wanted = ("eventName", "userIdentity", "requestParameters", "p_event_time", "p_any_ip_addresses", "p_log_type")
    columns = [column for column in REGISTRY.columns("AWS.CloudTrail") if column.name in wanted]
    rows: list[dict[str, Any]] = [
        {
            "eventName": name,
            "userIdentity": {"type": "IAMUser", "arn": f"arn:{who}"},
            "requestParameters": json.dumps({"bucketName": bucket, "keys": ["a", "b"], "size": 7}),
            "p_event_time": int(time * 1e6),
            "p_any_ip_addresses": ["192.0.2.1"],
        }
        for name, who, bucket, time in (
            ("GetObject", "ana", "b1", NOW - 60),
            ("PutObject", "bob", "b2", NOW - 7_200),
            ("GetObject", "bob", "b1", NOW - 40 * 86_400),
        )
    ]
    folder = tmp_path / "lake/events/p_log_type=AWS.CloudTrail/p_event_date=2023-11-14"
    folder.mkdir(parents=True)
    schema = arrow_schema([column for column in columns if column.name != "p_log_type"])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "a.parquet")
    return tmp_path / "lake"


async def rows(lake: Path, sql: str, **order: Any) -> list[dict[str, Any]]:
    """The records that a query's process gives."""
    body = await ask(Order(sql=sql, lake=str(lake), now=NOW, **order), 60.0)
    return [json.loads(line) for line in gzip.decompress(body).splitlines()] if body else []


async def test_the_warehouses_sql_finds_what_is_in_the_lake(lake: Path) -> None:
    """Its names of tables, macros and paths into objects and JSON; times are those of events."""
    sql = """
        SELECT userIdentity:arn AS who, requestParameters:bucketName::string AS bucket,
          requestParameters:size::int AS n, p_event_time FROM panther_logs.public.aws_cloudtrail
        WHERE p_occurs_since('1 hour') AND array_contains('192.0.2.1'::variant, p_any_ip_addresses)
          AND array_size(requestParameters:keys) = 2 AND arrays_overlap(requestParameters:keys, ['b', 'c'])
          AND array_intersection(requestParameters:keys, array_construct('a')) != []
          AND userIdentity:type = 'IAMUser' AND errorCode IS NULL
    """
    assert await rows(lake, sql) == [
        {"result": {"who": "arn:ana", "bucket": "b1", "n": 7, "p_event_time": "2023-11-14 22:12:20.000000000"}}
    ]


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("LATERAL FLATTEN(input => requestParameters:keys) f", ["a", "b"]),
        ("TABLE(FLATTEN(requestParameters:keys)) AS f", ["a", "b"]),
        ("LATERAL FLATTEN(p_any_ip_addresses) f", ["192.0.2.1"]),
        ("LATERAL FLATTEN(input => requestParameters:absent) f", []),
        ("LATERAL FLATTEN(input => requestParameters:absent, outer => true) f", [None]),
        ("LATERAL FLATTEN(input => errorCode) f", []),
    ],
)
async def test_arrays_are_flattened(lake: Path, source: str, values: list[str | None]) -> None:
    """Of JSON or typed, in every way to write it; what is none has no elements."""
    found = await rows(
        lake, f"select f.value v from aws_cloudtrail, {source} where p_occurs_since('1 hour') order by v"
    )
    assert [row["result"]["v"] for row in found] == values


async def test_rows_have_objects_as_events_have_them(lake: Path) -> None:
    """Columns of JSON are values, not text; columns that no file has are null."""
    [row] = await rows(lake, "select * from panther_logs.aws_cloudtrail where p_occurs_since(1h)")
    assert row["result"]["requestParameters"]["keys"] == ["a", "b"]
    assert row["result"]["userIdentity"]["arn"] == "arn:ana"
    assert row["result"]["awsRegion"] is None


async def test_too_many_rows_are_cut_off_and_told(lake: Path) -> None:
    """The first are looked at all the same."""
    found = await rows(lake, "select eventName from aws_cloudtrail", max_rows=2)
    assert ["error" in record for record in found] == [False, False, True]
    assert found[2]["error"]["type"] == "TooManyRows"


async def test_numbers_that_json_has_no_word_for(lake: Path) -> None:
    """As events have them: what is beyond 64 bits is a float, and what is no number is null."""
    sql = "select 123456789012345678901234567890::hugeint big, 'NaN'::double none, 7 n from aws_cloudtrail limit 1"
    assert await rows(lake, sql) == [{"result": {"big": 1.2345678901234568e29, "none": None, "n": 7}}]


async def test_a_row_that_is_too_large_is_told(lake: Path) -> None:
    """It is not passed on, however well it packs."""
    [record] = await rows(lake, "select repeat('x', 5000) from aws_cloudtrail", max_bytes=4_000)
    assert record["error"]["type"] == "TooManyRows"
    assert "the first 0 rows" in record["error"]["text"]


def test_whether_a_query_could_run_is_found_out_without_running_it() -> None:
    """One that never ends is refused by its time, in its process, and not where somebody asks."""
    assert not why_not(
        "with recursive a as (select 1 x union all select x + 1 from a) select max(x) from a", REGISTRY
    )
    assert why_not("with recursive a as (select 1 x union all select y from a) select max(x) from a", REGISTRY)
    assert not why_not(f"{chr(10) * 200_000}select 1", REGISTRY)


async def test_a_query_has_its_time(lake: Path) -> None:
    """Its process is ended then."""
    sql = "select count(*) from aws_cloudtrail a, range(100000000) b, range(100000) c"
    with pytest.raises(Permanent, match=r"more than 0\.5 s") as raised:
        await ask(Order(sql=sql, lake=str(lake), now=NOW), 0.5)
    assert raised.value.reason == "query_timeout"


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "copy (select 1) to '/tmp/x.csv'",
        "install httpfs",
        "select 1; select 2",
        "select * from read_csv('https://example.com/x.csv')",
    ],
)
def test_a_query_reaches_nothing_but_the_lake(sql: str) -> None:
    """No file, no network, no statement but one SELECT."""
    assert why_not(sql, REGISTRY)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select * from snowflake.account_usage.sessions", "the warehouse's own accounts of itself"),
        ("select * from panther_lookups.public.tor_exit_nodes", "lookup tables are not in the lake"),
        ("select * from panther_logs.public.nobody_knows", "no schema describes a log type of this name"),
        ("select * from other.public.table", "the lake has no such table"),
        ("-- pragma: template\nselect 1", "it is a template"),
        ("{% import 'x' y %} select 1", "it is a template"),
        ("select * from panther_logs.public.aws_cloudtrail where p_occurs_since('soon')", "no duration"),
        ("select p_occurs_since('99999999999999999999 days')", "too long"),
        (f"select {'(' * 900}1{')' * 900}", "nested too deep"),
        ("select from where", "cannot be read as Snowflake's SQL"),
        ("delete from panther_logs.public.aws_cloudtrail", "one SELECT is expected"),
    ],
)
def test_what_cannot_run_here_is_refused_with_the_reason(sql: str, said: str) -> None:
    """Before anything is read."""
    with pytest.raises(Permanent, match=said):
        translate(sql, NAMES, NOW)


@pytest.mark.parametrize(
    ("macro", "condition"),
    [
        ("p_occurs_since('1 day')", "p_event_time >= CAST('2023-11-13 22:13:20.000000+00' AS TIMESTAMPTZ)"),
        ("p_occurs_since(1h, , p_parse_time)", "p_parse_time >= CAST('2023-11-14 21:13:20"),
        ("p_occurs_since(3600)", "p_event_time >= CAST('2023-11-14 21:13:20"),
        ("p_occurs_since(90m, t)", "t.p_event_time >= CAST('2023-11-14 20:43:20"),
        ("p_event_time > current_timestamp()", "p_event_time > CAST('2023-11-14 22:13:20"),
        ("p_occurs_between('2023-01-01','2023-02-01')", "p_event_time BETWEEN CAST('2023-01-01' AS TIMESTAMPTZ)"),
    ],
)
def test_macros_of_time_count_from_the_time_of_the_turn(macro: str, condition: str) -> None:
    """So that a turn that is made up for looks at what it would have looked at."""
    sql = f"select 1 from panther_logs.public.aws_cloudtrail t where {macro}"
    assert condition in translate(sql, NAMES, NOW).sql


def test_names_of_matches_and_views() -> None:
    """The tables that are not a log type's, and names of columns with their table's full name."""
    sql = "select panther_logs.public.aws_cloudtrail.eventName from panther_logs.public.aws_cloudtrail"
    translated = translate(
        f"{sql} where p_row_id in (select p_row_id from panther_signals.public.aws_cloudtrail)", NAMES, NOW
    )
    assert translated.tables == ("AWS.CloudTrail", "rule_matches")
    assert "SELECT aws_cloudtrail.eventName" in translated.sql
    assert translate("select * from panther_views.public.all_logs", NAMES, NOW).tables == ("events",)
