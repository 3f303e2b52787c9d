"""Ingestion filters: what they leave out, what they count, and what they leave alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ingestd.config.filters import FiltersConfig
from ingestd.config.models import SourceConfig
from ingestd.model import ChunkResult, Filters, ObjectTask, Route
from ingestd.workers.filters import Compiled, compiled
from ingestd.workers.serial import SerialExecutor
from ingestd.workers.settings import CodeSpec, PoolSettings

WEB = {"sourceIPAddress": "198.51.100.7", "userAgent": "curl"}


def trail(name: str, **fields: Any) -> dict[str, Any]:
    """A CloudTrail record."""
    return {
        "eventVersion": "1.08",
        "eventTime": "2024-05-01T10:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": name,
        "awsRegion": "us-east-1",
        **WEB,
        **fields,
    }


def lines(*records: dict[str, Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


def filters(**given: Any) -> Filters:
    """As the configuration writes them."""
    return FiltersConfig.model_validate(given).to_filters(FiltersConfig())


async def outcome(data: bytes, route: Route) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Row ids in the order of the file, and (log type, outcome) → records."""
    results: list[ChunkResult] = []

    async def keep(result: ChunkResult) -> None:
        results.append(result)

    async def read() -> AsyncIterator[bytes]:
        yield data

    executor = SerialExecutor(PoolSettings(workers=1), keep)
    await executor.start(CodeSpec())
    done = await executor.run(ObjectTask(task=1, identity="file:a#1", source="a", route=route), lambda: read())
    await executor.close()
    assert max(span.end for result in results for span in result.spans) == done.records, (
        "each record took its ordinal"
    )
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        for count in result.counts:
            counts[count.log_type, count.outcome] += count.records
    tables = [table for result in results for table in result.tables if table.table == "events"]
    rows = [row for table in tables for row in pa.ipc.open_stream(pa.py_buffer(table.ipc)).read_all().to_pylist()]
    return sorted(str(row["p_row_id"])[20:28] for row in rows), counts


CLOUDTRAIL = ("AWS.CloudTrail",)


@pytest.mark.parametrize(
    ("given", "stay"),
    [
        ({"raw": [{"exclude": {"contains": ["GetObject"]}}]}, [1, 2]),
        ({"raw": [{"include": {"contains": ["GetObject", "PutObject"]}}]}, [0, 1]),
        ({"raw": [{"exclude": {"matches": ['"eventName":"(Get|Put)']}}]}, [2]),
        ({"raw": [{"include": {"matches": ["Object"]}}, {"exclude": {"contains": ["Get"]}}]}, [1]),
        ({"events": [{"exclude": [{"Key": "eventName", "Condition": "StartsWith", "Value": "Get"}]}]}, [1, 2]),
        ({"events": [{"include": [{"Key": "eventName", "Condition": "IsIn", "Values": ["PutObject"]}]}]}, [1]),
        (
            {"events": [{"log_types": ["Okta.SystemLog"], "exclude": [{"Key": "eventName", "Condition": "Exists"}]}]},
            [0, 1, 2],
        ),
        (
            {"events": [{"exclude": [{"KeyPath": "userIdentity.type", "Condition": "Equals", "Value": "Root"}]}]},
            [0, 1],
        ),
    ],
)
async def test_what_a_filter_lets_through(given: dict[str, Any], stay: list[int]) -> None:
    """Raw filters see the record's text, the others its fields; a record must pass all of them."""
    data = lines(trail("GetObject"), trail("PutObject"), trail("Login", userIdentity={"type": "Root"}))
    rows, counts = await outcome(data, Route(log_types=CLOUDTRAIL, filters=filters(**given)))
    assert rows == [f"{number:08x}" for number in stay]
    assert counts.total() == 3
    assert sum(records for (_, what), records in counts.items() if what == "filtered") == 3 - len(stay)


async def test_what_is_left_out_is_counted_by_log_type_where_it_is_known() -> None:
    """A record that was not parsed has none."""
    data = lines(trail("GetObject"), trail("PutObject"), trail("Login"))
    given = filters(
        raw=[{"exclude": {"contains": ["GetObject"]}}],
        events=[{"exclude": [{"Key": "eventName", "Condition": "Equals", "Value": "PutObject"}]}],
    )
    _, counts = await outcome(data, Route(log_types=CLOUDTRAIL, filters=given))
    assert counts == {("", "filtered"): 1, ("AWS.CloudTrail", "filtered"): 1, ("AWS.CloudTrail", "ok"): 1}


async def test_row_ids_do_not_depend_on_filters() -> None:
    """A filter that changes makes no other event of a record."""
    data = lines(trail("GetObject"), trail("PutObject"))
    given = filters(raw=[{"exclude": {"contains": ["GetObject"]}}])
    all_rows, _ = await outcome(data, Route(log_types=CLOUDTRAIL))
    rows, _ = await outcome(data, Route(log_types=CLOUDTRAIL, filters=given))
    assert rows == all_rows[1:]


async def test_a_header_line_that_is_left_out_still_names_the_columns() -> None:
    """Else nothing after it could be read."""
    data = b"version srcaddr dstaddr start end\n2 10.0.0.1 10.0.0.2 1714557600 1714557660\n2 10.0.0.9 10.0.0.2 1714557600 1714557660\n"  # noqa: E501
    given = filters(raw=[{"include": {"contains": ["10.0.0.1 "]}}])
    rows, counts = await outcome(data, Route(log_types=("AWS.VPCFlow",), filters=given))
    assert (len(rows), counts["", "filtered"]) == (1, 2)


async def test_elements_of_one_record_are_filtered_one_by_one() -> None:
    """An array of events is one record with several events."""
    data = json.dumps([trail("GetObject"), trail("PutObject")]).encode() + b"\n"
    given = filters(events=[{"exclude": [{"Key": "eventName", "Condition": "Equals", "Value": "GetObject"}]}])
    route = Route(log_types=CLOUDTRAIL, filters=given)
    rows, counts = await outcome(data, route)
    assert (len(rows), counts["AWS.CloudTrail", "filtered"]) == (1, 1)


async def test_rejects_are_not_filtered() -> None:
    """What cannot be read is still told."""
    given = filters(events=[{"include": [{"Key": "eventName", "Condition": "Exists"}]}])
    _, counts = await outcome(b"not json\n" + lines(trail("A")), Route(log_types=CLOUDTRAIL, filters=given))
    assert (counts["AWS.CloudTrail", "invalid"], counts["AWS.CloudTrail", "ok"]) == (1, 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"raw": [{}]}, "either include or exclude"),
        ({"raw": [{"include": {"contains": ["a"]}, "exclude": {"contains": ["b"]}}]}, "either include or exclude"),
        ({"raw": [{"exclude": {}}]}, "at least one text"),
        ({"raw": [{"exclude": {"contains": [""]}}]}, "no empty one"),
        ({"raw": [{"exclude": {"matches": ["("]}}]}, "not a regular expression"),
        ({"events": [{"exclude": []}]}, "at least one condition"),
        ({"events": [{"exclude": [{"Key": "a", "Condition": "IsAbot"}]}]}, "IsAbot"),
    ],
)
def test_a_malformed_filter_is_a_mistake_in_the_configuration(given: dict[str, Any], says: str) -> None:
    """Told before anything runs."""
    with pytest.raises(ValidationError, match=says):
        FiltersConfig.model_validate(given)


def test_filters_of_the_source_hold_on_every_route() -> None:
    """Beside the route's own."""
    config = SourceConfig.model_validate(
        {
            "type": "directory",
            "filters": {"raw": [{"exclude": {"contains": ["a"]}}]},
            "routes": [{"prefix": "x/"}, {"prefix": "y/", "filters": {"raw": [{"include": {"contains": ["b"]}}]}}],
        }
    )
    assert [len(route.filters.raw) for route in config.to_routes()] == [1, 2]


def test_filters_are_compiled_once_for_all_objects_of_a_route() -> None:
    """However many small files there are."""
    given = filters(raw=[{"exclude": {"contains": ["a"]}}])
    assert compiled(given) is compiled(filters(raw=[{"exclude": {"contains": ["a"]}}]))
    assert isinstance(compiled(given), Compiled)


async def test_a_route_decides_whether_unknown_fields_stay() -> None:
    """Over the schema's own word."""
    kept: list[bool] = []
    for keep in (True, False):
        executor_rows: list[ChunkResult] = []

        async def keep_result(result: ChunkResult, rows: list[ChunkResult] = executor_rows) -> None:
            rows.append(result)

        async def read() -> AsyncIterator[bytes]:
            yield lines(trail("A", brandNew=1))

        executor = SerialExecutor(PoolSettings(workers=1), keep_result)
        await executor.start(CodeSpec())
        route = Route(log_types=CLOUDTRAIL, keep_unknown=keep)
        await executor.run(ObjectTask(task=1, identity="file:a#1", source="a", route=route), lambda: read())
        await executor.close()
        (table,) = [table for result in executor_rows for table in result.tables]
        (row,) = pa.ipc.open_stream(pa.py_buffer(table.ipc)).read_all().to_pylist()
        kept.append(row["p_unknown_fields"] is not None)
    assert kept == [True, False]
