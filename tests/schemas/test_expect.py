"""expect: values that break a vendor's promise keep their row, flagged."""

from tests.schemas.build import log_type, read, refused

SCHEMA = """
    fields:
      - {name: id, type: string, required: true}
      - {name: kind, type: string, expect: {values: [path, finding]}}
      - {name: code, type: string, expect: {pattern: 'id[0-9]+'}}
      - name: params
        type: object
        expect: {presentWhen: {kind: [path]}}
        fields: [{name: score, type: float, expect: {min: 0, max: 100}}]
      - {name: list, type: array, element: {type: object, fields: [{name: n, type: int, expect: {min: 1}}]}}
"""


def test_what_is_as_expected_is_not_mentioned() -> None:
    """An event that keeps every promise has no p_unexpected."""
    event = read(SCHEMA, {"id": "1", "kind": "path", "code": "id7", "params": {"score": 100}, "list": [{"n": 1}]})
    assert "p_unexpected" not in event


def test_what_is_not_is_flagged_with_its_path() -> None:
    """The row stays with its values, and says what is wrong with which."""
    event = read(
        SCHEMA, {"id": "1", "kind": "other", "code": "x", "params": {"score": 101}, "list": [{"n": 1}, {"n": 0}]}
    )
    assert event["kind"] == "other"
    assert event["p_unexpected"] == {
        "kind": "'other' is not a known value",
        "code": "'x' is not of the form id[0-9]+",
        "params": "present, with kind 'other'",
        "params.score": "101.0 is not between 0 and 100",
        "list[1].n": "0 is not between 1 and None",
    }


def test_a_missing_sister_is_flagged() -> None:
    """presentWhen also says when a field should be there and is not."""
    assert read(SCHEMA, {"id": "1", "kind": "path"})["p_unexpected"] == {"params": "absent, with kind 'path'"}


def test_the_unexpected_counts_as_drift() -> None:
    """Reports of drift show which promise was broken how often."""
    kind = log_type(SCHEMA)
    for code in ("a", "id1", "b"):
        kind.flag({"id": "1", "code": code})
    assert kind.strays.take() == [("unexpected_value", {"code": 2})]


def test_required_still_refuses() -> None:
    """expect is no replacement for required."""
    assert refused(SCHEMA, {"kind": "path"}).detail == "id: required, but absent"


LENIENT = """
    lenient: true
    fields:
      - {name: id, type: string, required: true}
      - {name: at, type: timestamp, isEventTime: true}
      - {name: n, type: int, expect: {max: 5}}
      - {name: o, type: object, fields: [{name: x, type: bigint}]}
"""


def test_a_lenient_schema_sets_misfits_aside() -> None:
    """Values that cannot be of their type go to p_unknown_fields, with the reason; the rest of the row stays."""
    event = read(LENIENT, {"id": 1.50, "at": "soon", "n": 9, "O": {"x": "y", "z": 0.5}, "new": 1})
    assert {name: event.get(name) for name in ("id", "at", "n", "o")} == {"id": "1.5", "at": None, "n": 9, "o": None}
    assert event["p_unknown_fields"] == {"new": 1, "at": "soon", "O": {"x": "y", "z": 0.5}}
    assert event["p_unexpected"] == {
        "n": "9 is not between None and 5",
        "at": "'soon' is not a time of the format rfc3339",
        "O": "expected integer, found 'y'",
    }


def test_a_lenient_schema_still_demands_what_is_required() -> None:
    """Only a missing or misfit required field rejects."""
    assert refused(LENIENT, {"at": "soon"}).detail == "id: required, but absent"
    assert refused(LENIENT, {"id": {}}).detail == "id: expected string, found object"
