"""Timestamps, the event time, and indicators."""

from __future__ import annotations

from typing import Any

import pytest

from .build import column, fields, infer_json


@pytest.mark.parametrize(
    ("values", "formats"),
    [
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00.123+02:00"], ["rfc3339"]),
        (["2024-05-01 10:00:00"], ["%Y-%m-%d %H:%M:%S"]),
        (["01/May/2024:10:00:00 +0000"], ["%d/%b/%Y:%H:%M:%S %z"]),
        (["Wed, 01 May 2024 10:00:00 GMT"], ["%a, %d %b %Y %H:%M:%S %Z"]),
        (["05/13/2024 10:00:00", "05/01/2024 10:00:00"], ["%m/%d/%Y %H:%M:%S"]),
        (["2024-05-01T10:00:00Z", "2024-05-01 10:00:00"], ["rfc3339", "%Y-%m-%d %H:%M:%S"]),
        ([1714557600, 1714557601], ["unix"]),
        ([1714557600.25, 1714557601], ["unix"]),
        ([1714557600000], ["unix_ms"]),
        (["1714557600000"], ["unix_ms"]),
        ([1714557600000000], ["unix_us"]),
        ([1714557600000000000], ["unix_ns"]),
    ],
)
def test_formats(values: list[Any], formats: list[str]) -> None:
    """Each format that is known, alone or beside others, and counts since 1970 by their size."""
    assert column(*values, name="created_at") == {"type": "timestamp", "timeFormats": formats}


def test_a_count_is_a_time_by_name_only() -> None:
    """A number of the size of a moment is none when its name does not say so."""
    assert column(1714557600, name="balance") == {"type": "bigint"}


def test_a_text_that_is_no_time_keeps_a_few_from_being_one() -> None:
    """Of many it is set aside, and its record stays."""
    assert column(*["2024-05-01T10:00:00Z"] * 15, "soon")["type"] == "string"
    assert column(*["2024-05-01T10:00:00Z"] * 30, "soon")["type"] == "timestamp"


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"updated": "2024-05-01T10:00:00Z", "eventTime": "2024-05-01T10:00:00Z"}, "eventTime"),
        ({"expires_at": "2024-05-01T10:00:00Z", "created_at": "2024-05-01T10:00:00Z"}, "created_at"),
        ({"first_seen": "2024-05-01T10:00:00Z", "seen_at": "2024-05-01T10:00:00Z"}, "seen_at"),
    ],
)
def test_the_event_time_is_chosen(record: dict[str, Any], wanted: str) -> None:
    """One field, by its name."""
    found = fields(infer_json(record, record))
    assert [name for name, field in found.items() if field.get("isEventTime")] == [wanted]


def test_a_field_that_is_often_missing_is_not_the_event_time() -> None:
    """Presence counts more than the name."""
    records = [{"done": "2024-05-01T10:00:00Z"} for _ in range(9)]
    records.append({"done": "2024-05-01T10:00:00Z", "time": "2024-05-01T10:00:00Z"})
    assert fields(infer_json(*records))["done"]["isEventTime"] is True


@pytest.mark.parametrize(
    ("name", "value", "indicator"),
    [
        ("peer", "10.0.0.1", "ip"),
        ("peer", "2001:db8::1", "ip"),
        ("link", "https://example.com/a", "url"),
        ("who", "ann@example.com", "email"),
        ("role", "arn:aws:iam::123456789012:role/x", "aws_arn"),
        ("accountId", "123456789012", "aws_account_id"),
        ("machine", "i-0123456789abcdef0", "aws_instance_id"),
        ("sum5", "d41d8cd98f00b204e9800998ecf8427e", "md5"),
        ("sum1", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "sha1"),
        ("adapter", "00:11:22:33:44:55", "mac"),
        ("userName", "ann", "username"),
        ("trace_id", "abc", "trace_id"),
        ("hostname", "web1", "hostname"),
        ("queryDomain", "a.example.com", "domain"),
        ("peer_address", "10.0.0.1:443", "net_addr"),
    ],
)
def test_indicators(name: str, value: str, indicator: str) -> None:
    """By what values are, and where that does not tell by name."""
    assert column(value, name=name) == {"type": "string", "indicators": [indicator]}


def test_addresses_and_names_in_one_field() -> None:
    """What is an address here and a name there is a hostname."""
    assert column("10.0.0.1", "ec2.amazonaws.com", name="source")["indicators"] == ["hostname"]
