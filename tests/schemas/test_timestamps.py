"""Times in, `YYYY-MM-DD HH:MM:SS.fffffffff` UTC out."""

from datetime import UTC, datetime, timedelta

import pytest

from ingestd.schemas import timestamps
from ingestd.schemas.strptime import from_go_layout
from tests.schemas.build import NOW_TEXT, one_field, read, refused


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("rfc3339", "2023-07-10T11:42:36Z", "2023-07-10 11:42:36.000000000"),
        ("rfc3339", "2023-07-10T11:42:36.123456789Z", "2023-07-10 11:42:36.123456789"),
        ("rfc3339", "2023-07-10T01:42:36.5+02:30", "2023-07-09 23:12:36.500000000"),
        ("rfc3339", "2023-07-10t11:42:36z", "2023-07-10 11:42:36.000000000"),
        ("rfc3339", "2023-07-10T11:42:36+0000", "2023-07-10 11:42:36.000000000"),
        ("rfc3339", "2023-07-10T11:42:36", None),
        ("rfc3339", "2023-02-30T11:42:36Z", None),
        ("rfc3339", 1688992956, None),
        ("rfc3339", "", ""),
        ("rfc3339", "0001-01-01T00:00:00Z", ""),
        ("unix", 1688992956, "2023-07-10 12:42:36.000000000"),
        ("unix", 1688992956.123456, "2023-07-10 12:42:36.123456000"),
        ("unix", "1688992956.123456789", "2023-07-10 12:42:36.123456789"),
        ("unix", "-1", "1969-12-31 23:59:59.000000000"),
        ("unix", "-0.5", "1969-12-31 23:59:59.500000000"),
        ("unix", 10**18, None),
        ("unix", True, None),
        ("unix", float("inf"), None),
        ("unix_ms", 1688992956123, "2023-07-10 12:42:36.123000000"),
        ("unix_ms", "1688992956123", "2023-07-10 12:42:36.123000000"),
        ("unix_ms", 1688992956123.5, None),
        ("unix_us", 1688992956123456, "2023-07-10 12:42:36.123456000"),
        ("unix_ns", "1688992956123456789", "2023-07-10 12:42:36.123456789"),
        ("unix_auto", 1688992956, "2023-07-10 12:42:36.000000000"),
        ("unix_auto", "1688992956123", "2023-07-10 12:42:36.123000000"),
        ("unix_auto", 1688992956123456, "2023-07-10 12:42:36.123456000"),
        ("unix_auto", 1688992956123456789, "2023-07-10 12:42:36.123456789"),
        ("cloudflare", "2023-07-10T12:42:36Z", "2023-07-10 12:42:36.000000000"),
        ("cloudflare", 1688992956123456789, "2023-07-10 12:42:36.123456789"),
        ("%Y-%m-%d %H:%M:%S.%f", "2023-07-10 12:42:36.12", "2023-07-10 12:42:36.120000000"),
        ("%d/%b/%Y:%H:%M:%S %z", "10/Jul/2023:12:42:36 +0200", "2023-07-10 10:42:36.000000000"),
        ("%a, %d %B %Y %I:%M %p", "Mon, 10 July 2023 12:42 am", "2023-07-10 00:42:00.000000000"),
        ("%Y%j", "2023191", "2023-07-10 00:00:00.000000000"),
        ("%s.%f", "1688992956.5", "2023-07-10 12:42:36.500000000"),
        ("%m/%d/%y %T %Z", "07/10/23 12:42:36 EST", "2023-07-10 17:42:36.000000000"),
        ("%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:60", "2017-01-01 00:00:00.000000000"),
        ("%Y-%m-%d", "2023-13-01", None),
        ("layout=2006-01-02T15:04:05.000Z07:00", "2023-07-10T12:42:36.250Z", "2023-07-10 12:42:36.250000000"),
    ],
)
def test_formats(name: str, value: object, wanted: str | None) -> None:
    """Each format reads its own texts and numbers, and no others."""
    assert timestamps.format_reader(name)(value) == wanted or timestamps.reader_of((name,))(value) == wanted


def test_formats_are_tried_in_order() -> None:
    """The first of timeFormats that reads the value counts."""
    schema = one_field(type="timestamp", timeFormats=["unix_ms", "rfc3339", "%d.%m.%Y"])
    texts = [read(schema, {"f": value})["f"] for value in ("0", "1970-01-01T00:00:00Z", "1.1.1970")]
    assert set(texts) == {"1970-01-01 00:00:00.000000000"}


def test_the_form_that_goes_out_is_read_again() -> None:
    """A normalised event can be normalised once more, whatever the format of its times."""
    schema = one_field(type="timestamp", timeFormats=["unix"], isEventTime=True)
    once = read(schema, {"f": 1688992956})
    assert read(schema, {"f": once["f"]})["f"] == once["f"]
    assert read(schema, {"f": "2023-07-10 12:42:36"})["f"] == once["f"]


def test_the_legacy_key_and_the_default() -> None:
    """timeFormat is timeFormats with one item; without either it is rfc3339."""
    assert read(one_field(type="timestamp", timeFormat="unix"), {"f": "0"})["f"].startswith("1970")
    assert read(one_field(type="timestamp"), {"f": "1970-01-01T00:00:00Z"})["f"].startswith("1970")


def test_a_bad_time_names_the_formats() -> None:
    """The reject says what was found and what would have been read."""
    assert refused(one_field(type="timestamp"), {"f": "yesterday"}).detail == (
        "f: 'yesterday' is not a time of the format rfc3339"
    )


def test_the_first_event_time_in_schema_order_counts() -> None:
    """Nested and later fields step in when an earlier one is absent; without any it is the parse time."""
    schema = """
        fields:
          - {name: a, type: timestamp, isEventTime: true}
          - {name: o, type: object, fields: [{name: b, type: timestamp, isEventTime: true}]}
          - {name: c, type: timestamp, isEventTime: true}
    """
    a, b, c = (f"200{n}-01-01T00:00:00Z" for n in range(3))
    assert read(schema, {"c": c, "o": {"b": b}, "a": a})["p_event_time"].startswith("2000")
    assert read(schema, {"c": c, "o": {"b": b}, "a": ""})["p_event_time"].startswith("2001")
    assert read(schema, {"c": c, "o": {"b": None}})["p_event_time"].startswith("2002")
    assert read(schema, {})["p_event_time"] == NOW_TEXT


@pytest.mark.parametrize(("layout", "pattern"), [
    ("Jan _2 15:04:05 2006", "%b %e %H:%M:%S %Y"),
    ("2006-01-02T15:04:05.999999999-07:00", "%Y-%m-%dT%H:%M:%S.%f%z"),
    ("Monday, 02-Jan-06 03:04PM MST", "%A, %d-%b-%y %I:%M%p %Z"),
])  # fmt: skip
def test_go_layouts(layout: str, pattern: str) -> None:
    """A Go reference layout is the same as a pattern."""
    assert from_go_layout(layout) == pattern


def test_epoch_of_the_text() -> None:
    """The text form gives the moment back."""
    assert timestamps.to_epoch("2023-11-14 22:13:20.250000000") == 1_700_000_000.25


def test_a_text_without_a_year_is_of_the_last_that_fits() -> None:
    """Syslog's times have no year; none of them lies after tomorrow."""
    read_time = timestamps.reader_of(("%b %e %H:%M:%S",))
    today = datetime.now(UTC)
    for days in (-360, -40, 0, 1):
        moment = today + timedelta(days=days)
        if (moment.month, moment.day) == (2, 29):
            continue
        assert (read_time(f"{moment:%b} {moment.day:2d} 00:00:00") or "")[:10] == f"{moment:%Y-%m-%d}"
