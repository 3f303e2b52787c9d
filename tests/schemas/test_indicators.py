"""Which values land in which p_any_ list."""

import pytest

from tests.schemas.build import one_field, read


def lists(indicator: str, value: object) -> dict[str, list[str]]:
    """The p_any_ lists of an event whose one field holds the value."""
    event = read(one_field(type="string", indicators=[indicator]), {"f": value})
    return {name.removeprefix("p_any_"): found for name, found in event.items() if name.startswith("p_any_")}


@pytest.mark.parametrize(
    ("indicator", "value", "wanted"),
    [
        ("ip", " 10.0.0.1 ", {"ip_addresses": ["10.0.0.1"]}),
        ("ip", "2001:DB8::1", {"ip_addresses": ["2001:DB8::1"]}),
        ("ip", "10.0.0.1:80", {}), ("ip", "fe80::1%eth0", {}), ("ip", "10.0.0.01", {}), ("ip", "", {}),
        ("domain", "xn--bcher-kva.example", {"domain_names": ["bücher.example"]}),
        ("domain", "AWS Internal", {"domain_names": ["AWS Internal"]}),
        ("domain", "xn--\udfff".encode("utf-8", "replace").decode(), {"domain_names": ["xn--?"]}),
        ("hostname", "10.0.0.1", {"ip_addresses": ["10.0.0.1"]}),
        ("hostname", "ec2.example.com", {"domain_names": ["ec2.example.com"]}),
        ("url", "https://me:secret@Host.example:8443/p?q", {"domain_names": ["Host.example"]}),
        ("url", "http://[::1]:80/", {"ip_addresses": ["::1"]}),
        ("url", "host/path", {}), ("url", "http://[bad/", {}),
        ("net_addr", "10.0.0.1:443", {"ip_addresses": ["10.0.0.1"]}),
        ("net_addr", "[fe80::1]:443", {"ip_addresses": ["fe80::1"]}),
        ("net_addr", "db.example", {"domain_names": ["db.example"]}),
        ("email", "homer@example.com", {"emails": ["homer@example.com"], "usernames": ["homer"]}),
        ("email", "no address", {}),
        ("username", " homer ", {"usernames": ["homer"]}), ("username", "   ", {}),
        ("md5", "D41D8CD98F00B204E9800998ECF8427E", {"md5_hashes": ["d41d8cd98f00b204e9800998ecf8427e"]}),
        ("sha1", "d41d8cd98f00b204e9800998ecf8427e", {}),
        ("sha256", "a" * 64, {"sha256_hashes": ["a" * 64]}),
        ("aws_arn", "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc", {
            "aws_arns": ["arn:aws:ec2:us-east-1:123456789012:instance/i-0abc"],
            "aws_account_ids": ["123456789012"], "aws_instance_ids": ["i-0abc"]}),
        ("aws_arn", "arn:aws:sts::123456789012:assumed-role/Admin/homer@example.com", {
            "aws_arns": ["arn:aws:sts::123456789012:assumed-role/Admin/homer@example.com"],
            "aws_account_ids": ["123456789012"], "emails": ["homer@example.com"]}),
        ("aws_arn", "arn:aws:s3:::bucket", {"aws_arns": ["arn:aws:s3:::bucket"]}),
        ("aws_arn", "arn:aws", {}),
        ("aws_arn_only", "arn:aws:iam::123456789012:root", {"aws_arns": ["arn:aws:iam::123456789012:root"]}),
        ("aws_account_id", 123456789012, {"aws_account_ids": ["123456789012"]}),
        ("aws_account_id", "12345678901", {}), ("aws_account_id", "12345678901x", {}),
        ("aws_instance_id", "i-0abc", {"aws_instance_ids": ["i-0abc"]}), ("aws_instance_id", "eni-1", {}),
        ("aws_tag", "team:blue", {"aws_tags": ["team:blue"]}),
        ("trace_id", " abc ", {"trace_ids": ["abc"]}), ("actor_id", "u1", {"actor_ids": ["u1"]}),
        ("serial_number", "C02", {"serial_numbers": ["C02"]}),
        ("mac", "00-1A-2B-3C-4D-5E", {"mac_addresses": ["00:1a:2b:3c:4d:5e"]}), ("mac", "00:1a", {}),
    ],
)  # fmt: skip
def test_indicator(indicator: str, value: object, wanted: dict[str, list[str]]) -> None:
    """Values that prove themselves are collected; others leave no trace."""
    assert lists(indicator, value) == wanted


def test_lists_are_sorted_without_repeats() -> None:
    """Values of several fields and of array elements meet in one sorted list."""
    schema = """
        fields:
          - {name: a, type: string, indicators: [ip, username]}
          - {name: b, type: array, element: {type: string, indicators: [ip]}}
    """
    event = read(schema, {"a": "10.0.0.2", "b": ["10.0.0.3", None, "10.0.0.1", "10.0.0.2"]})
    assert event["p_any_ip_addresses"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert event["p_any_usernames"] == ["10.0.0.2"]


def test_free_form_data_is_searched_when_asked() -> None:
    """A json field with indicators yields what proves itself by its form, at any depth."""
    schema = one_field(type="json", indicators=["ip", "aws_arn", "aws_instance_id", "email", "md5", "sha256"])
    value = {
        "a": [{"b": "arn:aws:s3:::bucket"}, "10.9.8.7", "1.2.3", "fe80::1", "i-0123456789abcdef0", "i-robot"],
        "c": {"d": {"e": "me@example.org", "f": "f" * 32, "g": "F" * 64, "h": None, "i": 5}},
    }
    event = read(schema, {"f": value})
    assert event["f"] == value
    assert event["p_any_aws_arns"] == ["arn:aws:s3:::bucket"]
    assert event["p_any_ip_addresses"] == ["10.9.8.7", "fe80::1"]
    assert event["p_any_aws_instance_ids"] == ["i-0123456789abcdef0"]
    assert event["p_any_emails"] == ["me@example.org"]
    assert event["p_any_md5_hashes"] == ["f" * 32]
    assert event["p_any_sha256_hashes"] == ["f" * 64]


def test_a_scalar_in_a_searched_field_is_looked_at() -> None:
    """Free-form data may be a bare text."""
    assert read(one_field(type="json", indicators=["ip"]), {"f": "10.0.0.1"})["p_any_ip_addresses"] == ["10.0.0.1"]
