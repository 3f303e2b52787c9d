"""Which of several log types a record is: the best match, always the same."""

from typing import Any

import orjson

from ingestd.schemas import Classifier, Rejected, SessionInfo
from tests.schemas.build import log_type

STRICT = """
    schema: Custom.Strict
    fields:
      - {name: id, type: string, required: true}
      - {name: time, type: timestamp, required: true}
      - {name: kind, type: string}
"""
LOOSE = """
    schema: Custom.Loose
    fields: [{name: id, type: json}, {name: time, type: json}, {name: kind, type: json}, {name: more, type: json}]
"""
AUDIT = (
    "schema: Custom.Audit\nfields: [{name: id, type: string}, {name: kind, type: string, validate: {allow: [audit]}}]"
)
LOGIN = (
    "schema: Custom.Login\nfields: [{name: id, type: string}, {name: kind, type: string, validate: {allow: [login]}}]"
)
TIME = "2023-01-01T00:00:00Z"


def outcome(record: Any, *texts: str) -> Any:
    """The log type that a record turns out to be, or the reject."""
    classifier = Classifier([log_type(text) for text in texts])
    found = classifier.session(SessionInfo(identity="x")).read(
        record if isinstance(record, bytes) else orjson.dumps(record), 0
    )
    return found["p_log_type"] if isinstance(found, dict) else found


def test_required_fields_prove_more_than_known_keys() -> None:
    """A loose schema that knows every key does not win over one whose demands are met."""
    record = {"id": "1", "time": TIME, "kind": "x", "more": 1}
    for order in ((STRICT, LOOSE), (LOOSE, STRICT)):
        assert outcome(record, *order) == "Custom.Strict"


def test_what_does_not_fit_falls_to_the_next() -> None:
    """Values are tried in order of the keys' promise; the half-changed record is decoded anew."""
    assert outcome({"id": "1", "time": "soon", "kind": [1.50]}, STRICT, LOOSE) == "Custom.Loose"


def test_allow_lists_tell_look_alikes_apart() -> None:
    """Two schemas of the same keys are told apart by a value, record by record."""
    assert outcome({"id": "1", "kind": "login"}, AUDIT, LOGIN) == "Custom.Login"
    assert outcome({"id": "1", "kind": "audit"}, AUDIT, LOGIN, LOOSE) == "Custom.Audit"


def test_ties_go_by_name() -> None:
    """Equal schemas: the first name, whatever the order of definition."""
    twin = LOOSE.replace("Custom.Loose", "Custom.Aaa")
    assert outcome({"id": 1}, LOOSE, twin) == outcome({"id": 1}, twin, LOOSE) == "Custom.Aaa"


def test_the_answer_does_not_depend_on_what_came_before() -> None:
    """Records of other log types in between leave no trace."""
    classifier = Classifier([log_type(text) for text in (STRICT, LOOSE, AUDIT, LOGIN)])
    records = [{"id": "1", "kind": "login"}, {"id": "1", "time": TIME}, {"id": "2", "kind": "audit"}, {"more": 1}] * 3
    one = classifier.session(SessionInfo(identity="x"))
    names = [found["p_log_type"] for r in records if isinstance(found := one.read(orjson.dumps(r), 0), dict)]
    assert names == ["Custom.Login", "Custom.Strict", "Custom.Audit", "Custom.Loose"] * 3


def test_a_loose_schema_does_not_swallow_everything() -> None:
    """Without required or listed keys, at least half of the record's keys must be declared; `{}` is nobody's."""
    for record in ({}, {"id": 1, "a": 1, "b": 2}):
        assert outcome(record, LOOSE, STRICT).reason == "unclassified"
    assert outcome({"id": 1, "a": 1}, LOOSE, STRICT) == "Custom.Loose"


def test_a_reject_says_per_candidate_why_not() -> None:
    """Whoever reads the reject learns what each log type missed."""
    rejected = outcome({"id": "1", "kind": "other", "x": 1, "y": 2, "z": 3}, STRICT, AUDIT, LOOSE)
    assert rejected == Rejected(
        "unclassified",
        "Custom.Audit: kind: 'other' is not allowed; "
        "Custom.Loose: declares 40% of the record's keys; at least 50% are needed; "
        "Custom.Strict: time: required, but absent",
    )


def test_one_candidate_takes_what_fits() -> None:
    """A route with one log type asks for no proof beyond the schema."""
    assert outcome({"other": 1}, LOOSE) == "Custom.Loose"
    assert outcome({"id": "1"}, STRICT) == Rejected("invalid", "time: required, but absent", "Custom.Strict")


def test_text_and_json_in_one_route() -> None:
    """Objects go to JSON schemas first, lines to text parsers, those that demand most first."""
    greedy = "schema: Custom.Any\nparser: {fastmatch: {match: ['%{line}']}}\nfields: [{name: line, type: string}]"
    pair = """
        schema: Custom.Pair
        parser: {fastmatch: {match: ['%{n} %{line}']}}
        fields: [{name: n, type: int, required: true}, {name: line, type: string}]
    """
    kinds = (greedy, STRICT, pair)
    assert outcome({"id": "1", "time": TIME}, *kinds) == "Custom.Strict"
    assert outcome(b"7 x", *kinds) == "Custom.Pair"
    assert outcome(b"seven x", *kinds) == "Custom.Any"
    assert outcome(b'{"broken": ', *kinds) == "Custom.Any"


def test_rows_of_another_width_are_of_another_log_type() -> None:
    """Among several candidates, a row must have just the columns that are declared."""
    two, three = (
        f"schema: Custom.C{n}\nparser: {{csv: {{columns: [{', '.join('abc'[:n])}]}}}}\n"
        f"fields: [{', '.join(f'{{name: {name}, type: string}}' for name in 'abc'[:n])}]"
        for n in (2, 3)
    )
    assert outcome(b"1,2", two, three) == "Custom.C2"
    assert outcome(b"1,2,3", two, three) == "Custom.C3"
    assert outcome(b"1", two, three).detail == (
        "Custom.C2: another number of columns than declared; Custom.C3: another number of columns than declared"
    )


def test_shapes_are_remembered_in_bounded_memory() -> None:
    """Records of ever new keys do not fill the memory."""
    classifier = Classifier([log_type(STRICT), log_type(LOOSE)])
    one = classifier.session(SessionInfo(identity="x"))
    for n in range(3000):
        one.read(b'{"k%d": 1}' % n, n)
    assert 0 < len(classifier.shapes._shapes) <= 2048
    held = set(classifier.shapes._shapes)
    one.read(orjson.dumps({f"k{n}": 1 for n in range(200)}), 0)
    one.read(b'{"%s": 1}' % (b"k" * 5000), 0)
    assert set(classifier.shapes._shapes) == held


def test_look_alikes_are_told_apart_below_the_top() -> None:
    """Of two that know the same keys, the one that knows what is inside the record gets it."""
    one, two = (
        f"schema: Custom.{name}\nfields: [{{name: id, type: string}}, "
        f"{{name: body, type: object, fields: [{{name: {name.lower()}, type: string}}]}}]"
        for name in ("Aaa", "Bbb")
    )
    classifier = Classifier([log_type(one), log_type(two)])
    session = classifier.session(SessionInfo(identity="x"))
    found = [session.read(b'{"id": "1", "body": {"%s": "x"}}' % key, 0) for key in (b"aaa", b"bbb", b"ccc")]
    names = [event["p_log_type"] for event in found if isinstance(event, dict)]
    assert names == ["Custom.Aaa", "Custom.Bbb", "Custom.Aaa"]
    assert [kind.strays.take() for kind in classifier.jsons] == [[("unknown_field", {"body.ccc": 1})], []]
