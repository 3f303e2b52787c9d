"""What comes out of `Session.read`: standard fields, rejects, unknown fields, hostile records."""

import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.model import row_id, row_id_prefix
from ingestd.schemas import Registry, Rejected, SessionInfo, jsontext
from ingestd.schemas.jsontext import MAX_DEPTH
from ingestd.schemas.session import text_of
from tests.schemas.build import NOW_TEXT, declared, log_type, read, refused, session

LOOSE = "fields: [{name: a, type: string}, {name: n, type: bigint}, {name: j, type: json}]"
NESTED = """
    fields:
      - name: o
        type: object
        fields: [{name: a, type: string}]
      - name: l
        type: array
        element: {type: object, fields: [{name: a, type: string}]}
"""


@given(st.floats(-1e10, 1e11) | st.integers(0, 2**31).map(lambda second: second + 0.9999996))
def test_the_time_of_parsing_is_told_to_the_microsecond(now: float) -> None:
    """As datetime tells it, to the next second where it is rounded up."""
    assert text_of(now) == datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S.%f000")


def test_standard_fields() -> None:
    """Each event carries what it is, where it came from and when it was read."""
    one = session(LOOSE, source_id="s-1", source_label="trail", origin={"aws_s3_bucket": "b", "aws_s3_key": "k"})
    event = one.read(b'{"a": "x"}', 7, {"logGroup": "g"})
    assert event == {
        "a": "x",
        "p_log_type": "Custom.Test",
        "p_schema_version": 0,
        "p_source_id": "s-1",
        "p_source_label": "trail",
        "p_source_file": {"aws_s3_bucket": "b", "aws_s3_key": "k"},
        "p_row_id": row_id(row_id_prefix("file:/x#1"), 7),
        "p_event_time": NOW_TEXT,
        "p_parse_time": NOW_TEXT,
        "p_header": {"logGroup": "g"},
    }


def test_an_array_becomes_several_events() -> None:
    """A record that is an array of objects expands; elements take sub-ordinals, bad ones are rejects."""
    found = session(LOOSE).read(b'[{"a": "x"}, {"n": "no"}, 5, {"a": 1.50}]', 2)
    assert isinstance(found, list)
    first, second, third, fourth = found
    assert isinstance(first, dict)
    assert isinstance(fourth, dict)
    assert first["p_row_id"] == row_id(row_id_prefix("file:/x#1"), 2, 0)
    assert fourth["p_row_id"] == row_id(row_id_prefix("file:/x#1"), 2, 3)
    assert fourth["a"] == "1.50"
    assert second == Rejected("invalid", "n: expected integer, found 'no'", "Custom.Test")
    assert third == Rejected("not_an_object", "element 2 of the array is no object but integer", "Custom.Test")


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        (b"{", "invalid_json", "unexpected"),
        (b'{"a": NaN}', "invalid_json", "unexpected character"),
        (b'{"a": "x"} {"a": "y"}', "invalid_json", "after document"),
        (b'{"a": "\xff"}', "not_utf8", "byte 7 is not UTF-8: 0xff"),
        (b'"text"', "not_an_object", "expected a JSON object, found string"),
        (b"null", "not_an_object", "found null"),
        (b"\x00\x01", "invalid_json", "unexpected"),
        (b'{"a": [1]}', "invalid", "a: expected string, found array"),
        (b'{"n": 1e400}', "invalid_json", "infinity"),
    ],
)
def test_what_is_no_event_is_refused_with_a_reason(record: bytes, reason: str, detail: str) -> None:
    """A reject says what is wrong in a word for metrics and a sentence for people."""
    rejected = refused(LOOSE, record)
    assert (rejected.reason, rejected.log_type) == (reason, "Custom.Test")
    assert detail in rejected.detail


def test_blank_records_are_nothing() -> None:
    """Space is neither a row nor a reject."""
    assert session(LOOSE).read(b" \r\n", 0) is None


@pytest.mark.parametrize("shape", [b'{"a":', b"["])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 300, 2000, 100_000])
def test_deep_nesting_is_refused(shape: bytes, depth: int) -> None:
    """Nesting beyond the limit is a reject wherever it is: free-form, unknown or embedded; never a crash."""
    deep = shape * depth + b"1" + (b"}" if shape != b"[" else b"]") * depth
    for schema in (LOOSE, "fields: [{name: j, type: json, indicators: [ip]}]", NESTED):
        for key in (b"j", b"unknown"):
            assert refused(schema, b'{"%s": %s}' % (key, deep)).reason in {"invalid", "invalid_json"}
    schema = "fields: [{name: j, type: json, isEmbeddedJSON: true}]"
    assert read(schema, {"j": deep.decode()})["j"] == deep.decode()


def test_nesting_within_the_limit_is_fine() -> None:
    """Half as deep as the limit, and as wide as one likes, goes through and can be written back."""
    deep = b'{"a":' * (MAX_DEPTH // 2) + b"1" + b"}" * (MAX_DEPTH // 2)
    assert orjson.dumps(read(LOOSE, b'{"j": %s}' % deep))
    wide: dict[str, Any] = {"j": [[] for _ in range(1000)]}
    assert read(LOOSE, wide)["j"] == wide["j"]


def test_the_last_of_equal_keys_counts() -> None:
    """A repeated key is not an error, and what it means is defined."""
    assert read(LOOSE, b'{"a": "x", "a": "y"}')["a"] == "y"


def test_integers_beyond_64_bits_become_floats() -> None:
    """In free-form data a number that no column holds keeps its size, not its last digits."""
    assert read(LOOSE, b'{"j": [123456789012345678901234567890]}')["j"] == [1.2345678901234568e29]
    event = read(LOOSE, b'{"a": 1.10, "j": [123456789012345678901234567890, 0.5, 18446744073709551615]}')
    assert event["a"] == "1.10"
    assert orjson.loads(orjson.dumps(event["j"])) == [1.2345678901234568e29, 0.5, 18446744073709551615]


def test_half_surrogate_pairs_do_not_lose_the_record() -> None:
    """A client cannot make its own log line vanish by sending half a character."""
    assert read(LOOSE, rb'{"a": "x\ud800y", "j": {"\udfff": ["\ud83d\ude00", 1e5]}}')["a"] == "x\ufffdy"
    assert read(LOOSE, rb'{"a": 1.0, "j": "\ud800"}')["j"] == "\ufffd"


# --- unknown fields -------------------------------------------------------------------------------------


def test_unknown_fields_are_kept_and_gathered() -> None:
    """They stay where they were, spelled as columns, and their values go into one field for the lake."""
    record = {"o": {"a": "1", "x@y": 2}, "l": [{"a": "1"}, {"b": [3]}], "new": {"deep": None}, "none": None}
    event = read(NESTED, record)
    assert declared(event) == {
        "o": {"a": "1", "x_at_sign_y": 2}, "l": [{"a": "1"}, {"b": [3]}], "new": {"deep": None},
    }  # fmt: skip
    assert event["p_unknown_fields"] == {"o.x@y": 2, "l[1].b": [3], "new": {"deep": None}}


def test_unknown_fields_can_be_dropped() -> None:
    """The schema or the route decides; the route's word counts."""
    schema = "fieldDiscoveryEnabled: false\n" + "fields: [{name: o, type: object, fields: [{name: a, type: string}]}]"
    record = {"o": {"a": "1", "b": 2}, "c": 3}
    assert declared(read(schema, record)) == {"o": {"a": "1"}}
    assert "p_unknown_fields" not in read(schema, record)
    assert declared(read(schema, record, keep_unknown=True)) == record


def test_nobody_can_set_standard_fields() -> None:
    """Keys that begin with p_ in a record are unknown fields, kept aside."""
    event = read(LOOSE, {"p_log_type": "x", "P_Any_Emails": 5, "p_any_ip_addresses": ["1.1.1.1"], "a": "1"})
    assert event["p_log_type"] == "Custom.Test"
    assert event["p_unknown_fields"] == {"p_log_type": "x", "P_Any_Emails": 5, "p_any_ip_addresses": ["1.1.1.1"]}
    assert {"P_Any_Emails", "p_any_ip_addresses"}.isdisjoint(event)


def test_another_spelling_of_a_known_field_is_kept_aside() -> None:
    """Columns do not know capitals, so that `A` cannot stand beside `a`."""
    event = read(LOOSE, {"a": "1", "A": "2"})
    assert declared(event) == {"a": "1"}
    assert event["p_unknown_fields"] == {"A": "2"}


def test_capitals_do_not_make_another_field() -> None:
    """A key that differs from an absent field in capitals only is that field, at every depth."""
    event = read(NESTED, {"O": {"A": "1"}, "L": [{"A": 2.50}]})
    assert declared(event) == {"o": {"a": "1"}, "l": [{"a": "2.5"}]}
    assert "p_unknown_fields" not in event


def test_drift_is_counted_per_path() -> None:
    """Unknown fields are counted by path without array positions, in bounded memory."""
    kind = log_type(NESTED)
    for n in range(700):
        kind.apply({"l": [{"b": 1}], f"key{n}": 1}, True)
    ((what, counts),) = kind.strays.take()
    assert (what, counts["l[].b"], len(counts)) == ("unknown_field", 700, 500)
    assert kind.strays.take() == []
    other = log_type(NESTED)
    other.apply({"k" * 100_000: 1}, True)
    assert other.strays.take() == [("unknown_field", {"k" * 200: 1})]


def test_a_record_of_very_many_unknown_fields_keeps_them_all() -> None:
    """Beyond a bound they are gathered as a list, none lost."""
    event = read(LOOSE, {f"k{n}": n for n in range(1500)})
    assert len(event["p_unknown_fields"]) == 1001
    assert len(event["p_unknown_fields"]["…"]) == 500


# --- whatever comes ---------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "n", "j", "o", "l", "@x", "p_log_type"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=20,
)
TYPED = """
    fields:
      - {name: a, type: string, indicators: [ip, email, url, aws_arn, domain, net_addr, mac]}
      - {name: n, type: int}
      - {name: j, type: json, indicators: [ip, aws_arn, email, sha1]}
      - {name: '@x', type: timestamp, timeFormats: [unix_auto, rfc3339, '%Y'], isEventTime: true}
      - {name: o, type: object, isEmbeddedJSON: true, fields: [{name: a, type: float}, {name: l, type: boolean}]}
      - {name: l, type: array, element: {type: array, element: {type: string, mask: {type: hash}}}}
""".replace(", mask: {type: hash}", "")


@settings(max_examples=150)
@given(JSON)
def test_no_json_value_makes_read_raise(value: Any) -> None:
    """Whatever JSON comes, the answer is an event, events, a reject or nothing, and an event can be written."""
    data = orjson.dumps(_finite(value))
    for one in (session(TYPED), session(TYPED, LOOSE.replace("fields", "schema: Custom.B\nfields")), session(NESTED)):
        found = one.read(data, 0)
        for item in found if isinstance(found, list) else [found]:
            assert item is None or isinstance(item, (dict, Rejected))
            assert not isinstance(item, Rejected) or item.reason != "internal_error", item
            if isinstance(item, dict):
                assert orjson.loads(orjson.dumps(item)) == item


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_no_bytes_make_read_raise(data: bytes) -> None:
    """Binary rubbish is a reject for JSON and for text log types."""
    text = (
        "schema: Custom.T\nparser: {csv: {delimiter: ' ', hasHeader: auto, columns: [a]}}\n"
        "fields: [{name: a, type: int}]"
    )
    for one in (session(TYPED), session(text), session(TYPED, text)):
        found = one.read(data, 0)
        assert not isinstance(found, Rejected) or found.reason != "internal_error", found


@settings(max_examples=100)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "a": st.text(),
            "n": st.integers(-(2**63), 2**63 - 1),
            "j": JSON.filter(lambda value: value is not None).map(lambda value: _finite(value)),
        },
    )
)
def test_accepted_documents_round_trip(record: dict[str, Any]) -> None:
    """What a schema accepts comes out as it went in, and reading that again changes nothing."""
    event = read(LOOSE, record)
    assert declared(event) == {name: value for name, value in record.items() if value is not None}
    assert declared(read(LOOSE, declared(event))) == declared(event)


def _finite(value: Any) -> Any:
    """The value with what JSON cannot say replaced."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else 0.5
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**64 else 7
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {_finite(key): _finite(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("piece", [b"{}", b"[]", b"[[[[]]]]"])
@pytest.mark.parametrize("log_types", [("AWS.CloudTrail",), ()])
def test_a_record_of_nothing_but_brackets_is_refused_at_once(piece: bytes, log_types: tuple[str, ...]) -> None:
    """Millions of empty objects take a hundred times the memory of their text."""
    data = b'{"eventName": [' + b",".join([piece] * (12_000_000 // (len(piece) + 1))) + b"]}"
    started = time.process_time()
    found = Registry.load([]).classifier(log_types).session(SessionInfo(identity="x")).read(data, 0)
    assert isinstance(found, Rejected)
    assert "more than 100000 objects and arrays" in found.detail
    assert time.process_time() - started < 2


def test_brackets_in_texts_do_not_count() -> None:
    """A long text may hold anything."""
    data = b'{"a": "' + b'[{\\"' * 60_000 + b'"}'
    assert not jsontext.is_crowded(data)
    assert read(LOOSE, {"a": "[{" * 120_000})["a"].startswith("[{[{")
