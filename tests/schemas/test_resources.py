"""Snapshots of resources as rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestd.model import row_id, row_id_prefix
from ingestd.schemas.resources import COLUMNS, LOG_TYPE, ResourceSession
from ingestd.schemas.session import Rejected, SessionInfo

BUCKET = {"ResourceId": "arn:aws:s3:::b", "ResourceType": "AWS.S3.Bucket", "Nested": {"a": [1, None]}}


def _session(*types: str) -> ResourceSession:
    info = SessionInfo(identity="file", source_id="s", source_label="S", origin={"path": "p"})
    return ResourceSession(types or ("AWS.S3.Bucket",), info, clock=lambda: 0.0)


def _read(record: Any, *types: str) -> Any:
    return _session(*types).read(json.dumps(record).encode(), 7)


def test_a_snapshot_is_a_row_that_keeps_it_whole() -> None:
    """With its id, its type, and the standard fields; each is a column."""
    assert _read(BUCKET) == {
        "resource_id": "arn:aws:s3:::b",
        "resource_type": "AWS.S3.Bucket",
        "resource": BUCKET,
        "p_log_type": LOG_TYPE,
        "p_schema_version": 0,
        "p_source_id": "s",
        "p_source_label": "S",
        "p_source_file": {"path": "p"},
        "p_row_id": row_id(row_id_prefix("file"), 7),
        "p_event_time": "1970-01-01 00:00:00.000000000",
        "p_parse_time": "1970-01-01 00:00:00.000000000",
    }
    assert set(_read(BUCKET)) <= {column.name for column in COLUMNS}


@pytest.mark.parametrize(
    ("modified", "event_time"),
    [
        (60.5, "00:01:00.500000000"),
        (None, "00:02:00.000000000"),
        (1e300, "00:02:00.000000000"),
        (-5, "00:02:00.000000000"),
    ],
)
def test_a_snapshot_is_of_the_time_when_its_object_was_stored(modified: float | None, event_time: str) -> None:
    """Not of the future, and of now where the store says nothing that makes sense."""
    session = ResourceSession(("T",), SessionInfo(identity="file"), modified, lambda: 120.0)
    row: Any = session.read(b'{"Id": "x"}', 0)
    assert row["p_event_time"] == f"1970-01-01 {event_time}"
    assert row["p_parse_time"] == "1970-01-01 00:02:00.000000000"


def test_an_array_is_many_snapshots_with_ids_of_their_own() -> None:
    """One that is no resource does not stop the others."""
    first, wrong, last = _read([BUCKET, 3, BUCKET])
    prefix = row_id_prefix("file")
    assert [first["p_row_id"], last["p_row_id"]] == [row_id(prefix, 7, 0), row_id(prefix, 7, 2)]
    assert wrong.reason == "not_an_object"


@pytest.mark.parametrize(
    ("record", "types", "resource_type"),
    [
        ({"Arn": "x"}, ("AWS.S3.Bucket",), "AWS.S3.Bucket"),
        ({"Id": "x", "ResourceType": "AWS.EC2.VPC"}, ("AWS.*",), "AWS.EC2.VPC"),
        ({"ResourceId": "", "Arn": "x", "ResourceType": "B"}, ("A", "B"), "B"),
        ({"id": "y", "ARN": "x"}, ("AWS.S3.Bucket",), "AWS.S3.Bucket"),
    ],
)
def test_id_and_type_may_stand_elsewhere(record: dict[str, Any], types: tuple[str, ...], resource_type: str) -> None:
    """Arn and Id are ids too; a route for one type says it for records that do not."""
    row = _read(record, *types)
    assert (row["resource_id"], row["resource_type"]) == ("x", resource_type)


@pytest.mark.parametrize(
    ("record", "types", "reason"),
    [
        ({"ResourceId": "x"}, ("A", "B"), "invalid"),
        ({"ResourceId": "x"}, ("A.*",), "invalid"),
        ({"ResourceId": "x", "ResourceType": 3}, ("A",), "invalid"),
        ({"ResourceId": "x", "ResourceType": "C"}, ("A", "B"), "unclassified"),
        ({"ResourceType": "A"}, ("A",), "invalid"),
        ({"ResourceId": {"a": 1}}, ("A",), "invalid"),
        ({"ResourceId": "x" * 3000}, ("A",), "invalid"),
        ("text", ("A",), "not_an_object"),
        ([[]], ("A",), "not_an_object"),
        ([BUCKET] * 70_000, ("A",), "invalid_json"),
    ],
)
def test_what_no_policy_could_be_asked_about_is_rejected(record: Any, types: tuple[str, ...], reason: str) -> None:
    """With the reason, and a detail for a person."""
    rejected = _read(record, *types)
    if isinstance(rejected, list):
        (rejected,) = rejected
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert rejected.detail


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 200 + b"]" * 200, b'{"a": NaN}'])
def test_damaged_texts_are_rejected(data: bytes) -> None:
    """Truncated, not UTF-8, nested beyond measure, no JSON."""
    rejected = _session().read(data, 0)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "invalid_json"


def test_blank_lines_are_no_records() -> None:
    """As between logs."""
    assert _session().read(b" \n", 0) is None
