"""Lines of text: the parser that cuts them."""

from __future__ import annotations

import pytest

from .build import fields, infer_lines, parser

CSV = """\
time,user,src_ip,bytes,zip
2024-05-01 10:00:00,ann,10.0.0.1,1200,01234
2024-05-01 10:00:01,bob,10.0.0.2,-,90210
"""
CLF = '10.0.0.1 - ann [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326\n'


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_csv_with_a_header(delimiter: str) -> None:
    """The header names the fields; types are those of the cells, and - is absence."""
    made = infer_lines(CSV.replace(",", delimiter))
    assert parser(made) == {"csv": {"delimiter": delimiter, "hasHeader": True, "emptyValues": ["-"]}}
    assert {name: field["type"] for name, field in fields(made).items()} == {
        "time": "timestamp",
        "user": "string",
        "src_ip": "string",
        "bytes": "bigint",
        "zip": "string",
    }
    assert made.losses == []


def test_csv_without_a_header() -> None:
    """Columns get numbers for names."""
    made = infer_lines(CSV.split("\n", 1)[1])
    assert parser(made)["csv"]["columns"] == ["c1", "c2", "c3", "c4", "c5"]
    assert fields(made)["c3"]["indicators"] == ["ip"]
    assert made.losses == []


def test_space_separated_with_quotes_and_brackets() -> None:
    """A fastmatch pattern; the common log format of web servers has names."""
    made = infer_lines(CLF * 3)
    pattern = '%{remote_host} %{ident} %{user} [%{time}] "%{request}" %{status} %{bytes}'
    assert parser(made)["fastmatch"]["match"] == [pattern]
    assert fields(made)["time"]["isEventTime"] is True
    assert made.losses == []


def test_key_value() -> None:
    """Pairs become an object with types of its own."""
    made = infer_lines('time=2024-05-01T10:00:00Z src=10.0.0.1 msg="two words" count=3\n' * 2)
    inner = {field["name"]: field for field in fields(made)["fields"]["fields"]}
    assert inner["src"]["indicators"] == ["ip"]
    assert inner["time"]["isEventTime"] is True
    assert made.losses == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("CEF:0|Vendor|Product|1.0|100|worm stopped|10|src=10.0.0.1 rt=1714557600000", "CEF"),
        ("LEEF:1.0|MS|EX|2013|15345|src=10.50.1.1\tdst=2.10.20.20\tsev=5", "LEEF"),
        ("<34>Oct 11 22:14:15 host su[12]: failed", "syslog (RFC 3164)"),
        ("<34>1 2003-10-11T22:14:15.003Z host su - ID47 - failed", "syslog (RFC 5424)"),
        ("hello, world", "plain lines"),
    ],
)
def test_formats_with_a_name(line: str, what: str) -> None:
    """Each is recognised and its schema reads the line."""
    made = infer_lines(f"{line}\n" * 2)
    assert (made.what, made.records, made.losses) == (what, 2, [])


@pytest.mark.parametrize(
    ("head", "separator"),
    [("LEEF:1.0|V|P|1.0|15|", "\t"), ("LEEF:2.0|V|P|1.0|15|^|", "^"), ("LEEF:2.0|V|P|1.0|15|x5E|", "^")],
)
def test_leef_says_what_stands_between_its_attributes(head: str, separator: str) -> None:
    """A tab, a character, or its number."""
    line = head + separator.join(("src=10.0.0.1", "usrName=ada b", "note=a=b c=d"))
    made = infer_lines(f"{line}\n" * 2)
    inner = {field["name"]: field for field in fields(made)["attributes"]["fields"]}
    assert [*inner] == ["src", "usrName", "note"]
    assert inner["src"]["indicators"] == ["ip"]
    assert made.losses == []


def test_extended_format_of_w3c() -> None:
    """The comment that names the columns is followed, comments are skipped."""
    made = infer_lines(
        "#Version: 1.0\n#Fields: date c-ip sc-status\n2024-05-01 10.0.0.1 200\n2024-05-01 10.0.0.2 404\n"
    )
    assert list(fields(made)) == ["date", "c-ip", "sc-status"]
    assert (made.records, made.losses) == (2, [])
