"""SQL over the lake: what it answers, and what it refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.errors import Permanent
from ingestd.lake import layout
from ingestd.lake.files import LocalFiles
from ingestd.lake.parquet import Kept, encode
from ingestd.lake.query import query
from ingestd.model import Column
from tests.lake.conftest import COLUMNS, chunk


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with four events and their matches."""
    files = LocalFiles(tmp_path_factory.mktemp("query") / "lake")
    for number, file in enumerate(encode([Kept(chunk(("a", 0, 4), matching=True), (None,) * 4)])):
        files.write(f"{file.folder}/{number}.parquet", file.data)
    return files.root


def put(lake: Path, log_type: str, day: str, **columns: list[object]) -> None:
    """A file that some earlier schema wrote."""
    folder = lake / layout.folder("events", log_type, day)
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir()))
    pq.write_table(pa.table({"p_log_type": [log_type], **columns}), folder / f"old-{number}.parquet")


@pytest.mark.parametrize("name", ['"AWS.CloudTrail"', "AWS_CloudTrail", "aws_cloudtrail", "events", "rule_matches"])
def test_a_table_answers_to_its_names(lake: Path, name: str) -> None:
    """Log types by their own name or without its dots; in any case."""
    answer = query(f"select count(*) as n from {name}", lake)
    assert (answer.columns, list(answer.rows)) == (["n"], [(4,)])


def test_times_and_days_are_typed(lake: Path) -> None:
    """Times are in UTC; the day of the folder is a date, by which files are passed over."""
    answer = query('select p_event_time, p_event_date from "AWS.CloudTrail" limit 1', lake)
    (row,) = answer.rows
    assert row == (datetime(2026, 7, 1, 10, tzinfo=UTC), date(2026, 7, 1))
    plan = query("explain select * from \"AWS.CloudTrail\" where p_event_date = '2026-07-02'", lake)
    assert "p_event_date" in str(list(plan.rows))


def test_json_is_searched_with_arrows(lake: Path) -> None:
    """The JSON functions of DuckDB work on JSON columns."""
    answer = query("select event->>'eventID' as id from rule_matches order by id", lake)
    assert [row[0] for row in answer.rows] == ["a/0", "a/1", "a/2", "a/3"]


def test_an_empty_lake_has_tables(tmp_path: Path) -> None:
    """The first query of a new user is an empty table and not an error."""
    for table in ('"AWS.CloudTrail"', "AWS_CloudTrail", "events", "rule_matches", "rule_errors", "rejects"):
        answer = query(f"from {table}", tmp_path / "none", {"AWS.CloudTrail": COLUMNS})
        assert "p_log_type" in answer.columns
        assert list(answer.rows) == []


def test_nested_columns_of_an_empty_table_can_be_named(tmp_path: Path) -> None:
    """A query on `userIdentity.arn` is as valid before the first event as after it."""
    identity = Column(name="userIdentity", kind="object", children=(Column(name="arn", kind="string"),))
    answer = query('select userIdentity.arn from "X"', tmp_path, {"X": (identity,)})
    assert answer.columns == ["arn"]


def test_files_of_an_older_schema_are_joined_by_name(tmp_path: Path) -> None:
    """Columns that a file lacks are null; structs grow, too."""
    put(tmp_path, "My.Log", "2026-07-01", a=["old"], s=[{"x": 1}])
    put(tmp_path, "My.Log", "2026-07-02", a=["new"], b=[2], s=[{"x": 1, "y": 2}])
    answer = query('select a, b, s.y from "My.Log" order by a', tmp_path)
    assert list(answer.rows) == [("new", 2, 2), ("old", None, None)]


def test_events_joins_log_types_that_share_nothing_but_the_standard_fields(tmp_path: Path) -> None:
    """Equal names with other types do not get in each other's way."""
    put(tmp_path, "A", "2026-07-01", same=["text"])
    put(tmp_path, "B", "2026-07-01", same=[1])
    answer = query("select p_log_type from events order by 1", tmp_path)
    assert list(answer.rows) == [("A",), ("B",)]


@pytest.mark.parametrize("name", ["Odd Log", "we'ird", 'q"uote', "a/../b", "[x]*?", "100%"])
def test_a_log_type_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """Names are quoted everywhere."""
    put(tmp_path / "la'ke [1]", name, "2026-07-01", n=[1])
    quoted = name.replace('"', '""')
    assert list(query(f'select n, p_log_type from "{quoted}"', tmp_path / "la'ke [1]").rows) == [(1, name)]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from glob('/etc/*')",
        "select * from read_parquet('{outside}')",
        "select * from read_parquet('{lake}/../secret.parquet')",
        "copy (select 1) to '{lake}/evil.parquet'",
        "copy (select 1) to '{outside}'",
        "attach '{lake}/evil.db'",
        "create table t as select 1",
        "set enable_external_access=true",
        "install httpfs",
        "pragma database_list",
        "select 1; select 2",
        "",
        "selct 1",
        "select * from duckdb_secrets()",
    ],
)
def test_what_is_not_a_question_to_the_lake_is_refused(lake: Path, sql: str) -> None:
    """No file outside, no write inside, no settings, no extensions; and the lake is as it was."""
    outside = lake.parent / "secret.parquet"
    pq.write_table(pa.table({"secret": [1]}), outside)
    before = sorted(lake.rglob("*"))
    with pytest.raises(Permanent) as caught:
        list(query(sql.format(lake=lake, outside=outside), lake).rows)
    assert caught.value.reason == "query_failed"
    assert sorted(lake.rglob("*")) == before
    assert list(query("from read_parquet('" + str(lake / "events/**/*.parquet") + "')", lake).rows)


def test_an_unknown_table_is_answered_with_those_that_exist(lake: Path) -> None:
    """The reader learns what to write instead."""
    with pytest.raises(Permanent, match=r'Tables: "AWS\.CloudTrail", events, rule_matches'):
        query("select * from cloudtrail", lake)
