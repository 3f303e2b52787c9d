"""Text parsers: lines in, typed events out."""

from typing import Any

import orjson
import pytest

from ingestd.schemas import Rejected
from tests.schemas.build import declared, read, refused, session


def schema(parser: dict[str, Any], *fields: Any) -> str:
    """A schema of text fields (a name) and others (a mapping)."""
    made = [field if isinstance(field, dict) else {"name": field, "type": "string"} for field in fields]
    return orjson.dumps({"parser": parser, "fields": made}).decode()


def fastmatch(*patterns: str, **options: Any) -> dict[str, Any]:
    """A fastmatch parser."""
    return {"fastmatch": {"match": list(patterns), **options}}


# --- fastmatch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "line", "wanted"),
    [
        ("%{a} %{b}", "1 2 3", {"a": "1", "b": "2 3"}),
        ("%{a} %{}: %{b};", "1 x: 2; tail", {"a": "1", "b": "2"}),
        ("[%{a}] %{b}", "[1] 2", {"a": "1", "b": "2"}),
        ("%{a}::%{b}", "x:y::z::", {"a": "x:y", "b": "z::"}),
        ('"%{a}" %{b}', r'"say \"hi\"\n" 2', {"a": 'say "hi"\n', "b": "2"}),
        ("'%{a}' %{b}", r"'it\'s' 2", {"a": "it's", "b": "2"}),
        ('"%{a}" %{b}', '"plain" x\\y', {"a": "plain", "b": "x\\y"}),
        ("%{a}|%{b}|", "||", {"a": "", "b": ""}),
    ],
)
def test_fastmatch(pattern: str, line: str, wanted: dict[str, str]) -> None:
    """A field ends at the first occurrence of the literal behind it; the last takes the rest."""
    assert declared(read(schema(fastmatch(pattern), "a", "b"), line.encode())) == wanted


def test_fastmatch_takes_the_first_pattern_that_matches() -> None:
    """Patterns are tried in order, and a line that none matches is refused."""
    text = schema(fastmatch("A %{a}", "B %{b}"), "a", "b")
    assert declared(read(text, b"B 2")) == {"b": "2"}
    assert refused(text, b"C 3").detail == "the line matches no pattern"


def test_fastmatch_is_linear() -> None:
    """A hostile line of many half-delimiters costs no more than its length."""
    text = schema(fastmatch("%{a}ab%{b}ab%{c}ab%{d}ab%{e}Z"), *"abcde")
    assert refused(text, b"ab" * 50_000).reason == "invalid"


# --- regex ----------------------------------------------------------------------------------------------


def test_regex_joins_its_parts_and_knows_grok() -> None:
    """The parts of match are one expression; %{PATTERN:field} and (?P<field>…) name fields."""
    parser = {
        "regex": {
            "match": ["^%{TIMESTAMP_ISO8601:at} ", r"(?P<level>\w+) ", "%{IP:client}", "(?: %{CODE:code})?$"],
            "patternDefinitions": {"CODE": r"E\d+"},
        }
    }
    text = schema(parser, {"name": "at", "type": "timestamp", "isEventTime": True}, "level", "client", "code")
    event = read(text, b"2023-01-02T03:04:05Z WARN 10.0.0.1 E42")
    assert declared(event) == {
        "at": "2023-01-02 03:04:05.000000000", "level": "WARN", "client": "10.0.0.1", "code": "E42",
    }  # fmt: skip
    assert event["p_event_time"] == "2023-01-02 03:04:05.000000000"
    assert "code" not in read(text, b"2023-01-02T03:04:05Z WARN 10.0.0.1")
    assert refused(text, b"nothing").detail == "the line matches no pattern"


def test_regex_alternatives_may_share_a_field() -> None:
    """A grok field in two alternatives takes the text of the one that matched."""
    text = schema({"regex": {"match": ["^(?:a=%{INT:n}|b=%{INT:n})$"]}}, "n")
    assert [read(text, line)["n"] for line in (b"a=1", b"b=2")] == ["1", "2"]


# --- options --------------------------------------------------------------------------------------------


def test_options_of_text_parsers() -> None:
    """trimSpace comes first, then emptyValues, then expandFields, of which an empty result is absent."""
    parser = fastmatch(
        "%{a},%{b},%{c}", trimSpace=True, emptyValues=["-", "N/A"], expandFields={"d": "%{a}:%{b}", "e": "%{c}"}
    )
    text = schema(parser, *"abcde")
    assert declared(read(text, b" x , - ,N/A")) == {"a": "x", "d": "x:"}


def test_the_straight_path_agrees_with_the_one_through_texts() -> None:
    """Expanding a field that is not there changes nothing for the others."""
    number = {"name": "n", "type": "int"}
    plain = schema(fastmatch("%{a},%{n}", trimSpace=True, emptyValues=["-"]), "a", number)
    through = schema(
        fastmatch("%{a},%{n}", trimSpace=True, emptyValues=["-"], expandFields={"x": "%{x}"}), "a", "x", number
    )
    for line in (b" v ,7", b"-,-", b",", b"a, 12 "):
        assert declared(read(plain, line)) == declared(read(through, line))


def test_an_empty_value_is_absent_even_where_required() -> None:
    """A required field that holds `-` refuses the line."""
    text = schema(fastmatch("%{a} %{b}", emptyValues=["-"]), {"name": "a", "type": "string", "required": True}, "b")
    assert refused(text, b"- 2").detail == "a: required, but absent"


def test_lines_to_skip() -> None:
    """skipLines counts from the object's start, skipPrefix marks comments; neither makes a row."""
    one = session(schema(fastmatch("%{a}", skipPrefix="#", skipLines=1), "a"))
    assert [one.read(line, at) for at, line in enumerate([b"title", b"# note"])] == [None, None]
    found = one.read(b"row", 2)
    assert isinstance(found, dict)
    assert found["a"] == "row"


# --- csv ------------------------------------------------------------------------------------------------


def rows(text: str, *lines: bytes) -> list[Any]:
    """What the lines of one object become."""
    one = session(text)
    found = [one.read(line, at) for at, line in enumerate(lines)]
    return [declared(row) if isinstance(row, dict) else row for row in found]


def test_csv_with_columns() -> None:
    """Columns name the cells; `""` skips one, short rows are padded, cells beyond are ignored."""
    text = schema({"csv": {"columns": ["a", "", "b"]}}, "a", "b")
    assert rows(text, b'1,x,"2,3"', b"1", b"1,x,2,9", b'say ""hi"",x,y', b'"open,x') == [
        {"a": "1", "b": "2,3"}, {"a": "1", "b": ""}, {"a": "1", "b": "2"}, {"a": 'say ""hi""', "b": "y"},
        {"a": "open,x", "b": ""},
    ]  # fmt: skip


def test_csv_with_a_header() -> None:
    """The first line names the columns; unknown ones are kept as unknown fields."""
    text = schema(
        {"csv": {"delimiter": "\t", "hasHeader": True, "emptyValues": [""]}}, "a", {"name": "n", "type": "int"}
    )
    assert rows(text, b"n\tother\ta", b"7\tx\tA", b"\t\tB") == [None, {"n": 7, "a": "A", "other": "x"}, {"a": "B"}]


def test_csv_with_header_and_columns() -> None:
    """Given both, the header is only skipped."""
    text = schema({"csv": {"hasHeader": True, "columns": ["a", "b"]}}, "a", "b")
    assert rows(text, b"anything,else", b"1,2") == [None, {"a": "1", "b": "2"}]


AUTO = schema(
    {
        "csv": {
            "delimiter": " ",
            "hasHeader": "auto",
            "columns": ["a", "n"],
            "aliases": {"the-n": "n"},
            "emptyValues": ["-"],
        }
    },
    "a",
    {"name": "n", "type": "int"},
)


def test_csv_finds_out_whether_there_is_a_header() -> None:
    """hasHeader: auto takes a line of known names for one, whatever the order; else columns apply."""
    assert rows(AUTO, b"the-n new a", b"7 x A", b"- - B") == [None, {"n": 7, "a": "A", "new": "x"}, {"a": "B"}]
    assert rows(AUTO, b"A 7", b"B 8") == [{"a": "A", "n": 7}, {"a": "B", "n": 8}]


def test_csv_without_its_header_takes_just_the_declared_columns() -> None:
    """An object that is read on from its middle does not have its rows read by the wrong names."""
    one = session(AUTO)
    found = one.read(b"7 x A", 10)
    assert isinstance(found, Rejected)
    assert found.detail == "another number of columns than declared"


def test_csv_objects_put_together_bring_their_headers() -> None:
    """A header line in the midst changes the columns from there on."""
    assert rows(AUTO, b"the-n a", b"7 A", b"a the-n", b"B 8") == [None, {"n": 7, "a": "A"}, None, {"a": "B", "n": 8}]


def test_a_row_without_its_header_is_refused_until_primed() -> None:
    """An object that is read on from its middle needs its first record once more."""
    text = schema({"csv": {"hasHeader": True}}, "a", "b")
    one = session(text)
    first = one.read(b"1,2", 10)
    assert isinstance(first, Rejected)
    assert first.detail == "no header line came before the row"
    other = session(text)
    other.prime(b"b,a")
    found = other.read(b"1,2", 10)
    assert isinstance(found, dict)
    assert declared(found) == {"b": "1", "a": "2"}


def test_a_header_cannot_name_standard_fields() -> None:
    """A hostile header does not set p_ fields of the event; its values are kept aside."""
    one = session(schema({"csv": {"hasHeader": True}}, "a"))
    one.read(b"a,p_log_type,P_row_id,a", 0)
    found = one.read(b"1,evil,evil,2", 1)
    assert isinstance(found, dict)
    assert found["p_log_type"] == "Custom.Test"
    assert declared(found) == {"a": "1"}
    assert found["p_unknown_fields"] == {"p_log_type": "evil", "P_row_id": "evil"}


def test_a_line_of_very_many_columns_is_no_header() -> None:
    """Code is made for a header's columns, so that their number is bounded."""
    rejected = refused(schema({"csv": {"hasHeader": True}}, "a"), b"a," * 5000)
    assert rejected.detail == "a line of 5001 columns; at most 1000"


# --- script ---------------------------------------------------------------------------------------------


def test_script() -> None:
    """A Starlark function makes the event; what it returns is typed like JSON."""
    pytest.importorskip("starlark")
    function = """
def parse(log):
    if log == "boom":
        fail("no")
    head, _, rest = log.partition(" ")
    return {"a": base64.decode(head), "n": json.decode(rest)["n"]} if rest else {}
"""
    text = schema({"script": {"function": function}}, "a", {"name": "n", "type": "bigint"})
    assert declared(read(text, b'aGk= {"n": "5"}')) == {"a": "hi", "n": 5}
    for line in (b"boom", b"empty"):
        assert refused(text, line).detail == "the script's parse(log) failed or returned no dict"
