"""rename, pairs, copy, concat, split, mask, in this order; and unroll."""

import hashlib

import orjson

from tests.schemas.build import declared, read, refused, session


def test_rename_reads_another_key() -> None:
    """The field takes the value of `from`; without it, a value that already has the name."""
    text = "fields: [{name: time, type: string, rename: {from: '@t'}}]"
    assert declared(read(text, {"@t": "1"})) == {"time": "1"}
    assert declared(read(text, {"time": "1"})) == {"time": "1"}


def test_special_characters_are_spelled_out() -> None:
    """A field of a name that no column can have is renamed by rule."""
    text = "fields: [{name: '@timestamp', type: timestamp, timeFormats: [unix_ms], isEventTime: true}]"
    event = read(text, {"@timestamp": 1000})
    assert event["at_sign_timestamp"] == event["p_event_time"] == "1970-01-01 00:00:01.000000000"


def test_copy_takes_a_value_from_a_path() -> None:
    """The copy is typed by its own field and leaves the original alone."""
    text = """
        fields:
          - {name: ip, type: string, indicators: [ip], copy: {from: src.list.1}}
          - {name: all, type: json, copy: {from: src}}
          - {name: src, type: object, fields: [{name: list, type: array, element: {type: string}}]}
    """
    event = read(text, {"src": {"list": ["x", "10.0.0.1"]}})
    assert declared(event) == {
        "ip": "10.0.0.1",
        "src": {"list": ["x", "10.0.0.1"]},
        "all": {"list": ["x", "10.0.0.1"]},
    }
    assert event["p_any_ip_addresses"] == ["10.0.0.1"]
    assert "ip" not in read(text, {"src": {"list": ["x"]}})


def test_concat_joins_when_all_parts_are_there() -> None:
    """Date and time in two fields become one event time; with a part missing there is none."""
    text = """
        fields:
          - {name: at, type: timestamp, isEventTime: true, concat: {paths: [day, clock], separator: T}}
          - {name: day, type: string}
          - {name: clock, type: string}
    """
    assert read(text, {"day": "2023-01-02", "clock": "03:04:05Z"})["at"] == "2023-01-02 03:04:05.000000000"
    assert "at" not in read(text, {"day": "2023-01-02"})


def test_split_takes_one_piece() -> None:
    """An index counts from either end; one beyond gives nothing."""
    text = """
        fields:
          - {name: host, type: string, split: {from: addr, separator: ':', index: 0}}
          - {name: port, type: int, split: {from: addr, separator: ':', index: -1}}
          - {name: third, type: string, split: {from: addr, separator: ':', index: 2}}
          - {name: addr, type: string}
    """
    assert declared(read(text, {"addr": "h:80"})) == {"host": "h", "port": 80, "addr": "h:80"}


def test_each_sees_the_result_of_those_before() -> None:
    """A renamed value can be copied, split and masked in one schema."""
    text = """
        fields:
          - {name: raw, type: string, rename: {from: '#'}, mask: {type: redact, to: gone}}
          - {name: twin, type: string, copy: {from: raw}}
          - {name: part, type: string, split: {from: twin, separator: '-', index: 1}, mask: {type: hash, salt: s}}
    """
    digest = hashlib.sha256(b"sb").hexdigest()
    assert declared(read(text, {"#": "a-b"})) == {"raw": "gone", "twin": "a-b", "part": digest}


def test_masked_values_reach_no_indicator() -> None:
    """Masking comes before anything collects the value, in nested objects and arrays too."""
    text = """
        fields:
          - name: users
            type: array
            element:
              type: object
              fields: [{name: mail, type: string, indicators: [email], mask: {type: redact}}]
    """
    event = read(text, {"users": [{"mail": "a@example.org"}, {}]})
    assert "p_any_emails" not in event
    assert "example" not in str(declared(event))


def test_pairs_make_an_object_of_a_list() -> None:
    """Lists of named values become objects, nested lists too; what is no such list stays."""
    text = """
        fields:
          - {name: params, type: json, pairs: {values: [value, intValue, multiValue, messageValue]}}
    """
    params = [
        {"name": "a", "value": "x"},
        {"name": "b", "intValue": "7"},
        {"name": "c", "multiValue": ["p", "q"]},
        {"name": "d", "messageValue": {"parameter": [{"name": "e", "value": 1}]}},
        {"name": "f"},
    ]
    wanted = {"a": "x", "b": "7", "c": ["p", "q"], "d": {"parameter": {"e": 1}}, "f": None}
    assert read(text, {"params": params})["params"] == wanted
    for other in ({"a": 1}, ["x"], [], [{"value": 1}]):
        assert read(text, {"params": other})["params"] == other


UNROLL = """
    unroll: events
    fields:
      - {name: id, type: object, fields: [{name: time, type: timestamp, isEventTime: true}]}
      - {name: name, type: string, required: true}
      - {name: code, type: string}
"""


def test_unroll_makes_an_event_of_each_element() -> None:
    """Elements come beside the rest of the record, each with a row id of its own."""
    record = {
        "id": {"time": "2023-01-01T00:00:00Z"},
        "code": 1.50,
        "events": [{"name": "a"}, {"name": 2.0, "code": "c"}],
    }
    found = session(UNROLL).read(orjson.dumps(record), 3)
    assert isinstance(found, list)
    events = [event for event in found if isinstance(event, dict)]
    assert [(event["name"], event["code"]) for event in events] == [("a", "1.5"), ("2.0", "c")]
    assert {event["p_event_time"] for event in events} == {"2023-01-01 00:00:00.000000000"}
    assert [event["p_row_id"][-12:] for event in events] == ["000000030000", "000000030001"]
    assert events[0]["id"] is not events[1]["id"]


def test_unroll_of_one_or_none_is_an_event() -> None:
    """One element makes a plain event, as does a record that was unrolled before."""
    assert declared(read(UNROLL, {"code": "x", "events": [{"name": "a"}]})) == {"code": "x", "name": "a"}
    assert declared(read(UNROLL, {"name": "a"})) == {"name": "a"}
    assert refused(UNROLL, {"events": []}).detail == "name: required, but absent"


def test_one_bad_element_refuses_the_record() -> None:
    """A record is of the schema with all that is in it, or not at all."""
    assert refused(UNROLL, {"events": [{"name": "a"}, {}]}).reason == "invalid"


def test_copy_of_the_whole_event_is_made_once() -> None:
    """`$` is the event as it came; a value that is already there stays."""
    text = "fieldDiscoveryEnabled: false\nfields: [{name: all, type: json, copy: {from: $}}, {name: a, type: string}]"
    once = declared(read(text, {"a": "1", "b": 2}))
    assert once == {"a": "1", "all": {"a": "1", "b": 2}}
    assert declared(read(text, once)) == once


def test_key_values_with_a_separator() -> None:
    """A value ends at the separator only; a piece without a key belongs to the value before it."""
    text = 'fields: [{name: ext, type: json, keyValues: {from: raw, separator: "^"}}, {name: raw, type: string}]'
    raw = "none^a=1 b=2^c=x=y^z^^d="
    assert read(text, {"raw": raw})["ext"] == {"a": "1 b=2", "c": "x=y^z^", "d": ""}


def test_key_values_cut_a_text_into_an_object() -> None:
    """As CEF and logfmt write them: values go up to the next key, escapes and quotes are undone."""
    text = "fields: [{name: ext, type: json, keyValues: {from: raw}}, {name: raw, type: string}]"
    raw = r'src=10.0.0.1 msg=two words a\=b q="x y" empty= last=c\\d'
    assert read(text, {"raw": raw})["ext"] == {
        "src": "10.0.0.1", "msg": "two words a=b", "q": "x y", "empty": "", "last": r"c\d",
    }  # fmt: skip
    assert read(text, {"raw": "no pairs"})["ext"] == {}
    assert "ext" not in read(text, {})
